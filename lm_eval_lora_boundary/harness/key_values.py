"""Read options such as ``k=v,…`` as lm-eval's own command line reads them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..errors import LoraBoundaryError

# arguments of our models that --model-args may not hold, since commands set them
CUT_ARGUMENTS = frozenset({"pretrained", "peft", "delta", "boundary", "keep", "merge"})


def read_key_values(
    given: str | Sequence[str] | Mapping[str, Any] | None, option: str
) -> dict[str, Any]:
    """Return the arguments that an option holds.

    Args:
        given: Text: ``k=v,…`` or a JSON object; several texts, of which later ones win; or a
            mapping, which is copied.
        option: Name of the option, for messages.

    Raises:
        LoraBoundaryError: The text cannot be read.
    """
    if isinstance(given, Mapping):
        return dict(given)
    # This import takes a second, which `--help` should not take.
    from ..upstream.lm_eval import merge_dict_action

    merge = merge_dict_action()([option], "arguments", nargs="+")
    namespace = Namespace(arguments={})
    parser = Namespace(error=_raise)  # a real parser would end the process
    for text in filter(None, [given] if isinstance(given, str) else given or ()):
        try:
            merge(parser, namespace, [text], option)
        except ValueError as error:
            nested = ("{" in text or "[" in text) and not text.lstrip().startswith("{")
            # releases of lm-eval differ in what they read of these
            hint = '; a value in brackets or braces may need the JSON form: {"k": …}'
            hint = hint if nested else ""
            raise LoraBoundaryError(
                f"{option} {text}: lm_eval cannot read this; expected k=v,… or a JSON object{hint}"
            ) from error
    return dict(namespace.arguments)


def _raise(message: str) -> NoReturn:
    raise ValueError(message)
