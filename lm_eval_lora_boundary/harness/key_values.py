"""Options such as ``k=v,…``, read as lm-eval's own command line reads them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..errors import LoraBoundaryError


def read_key_values(
    given: str | Sequence[str] | Mapping[str, Any] | None, option: str
) -> dict[str, Any]:
    """Return the arguments that an option holds.

    Args:
        given: ``k=v,…`` or a JSON object, as text; several such texts, of which later ones win;
            or a mapping, which is copied.
        option: Name of the option, for messages.

    Raises:
        LoraBoundaryError: The text cannot be read.
    """
    if isinstance(given, Mapping):
        return dict(given)
    # takes a second to import, which `--help` should not
    from lm_eval._cli.utils import MergeDictAction

    action = MergeDictAction([option], "found", nargs="+")
    namespace = Namespace()
    for text in [given] if isinstance(given, str) else given or ():
        if not text:
            continue
        try:
            action(_Parser(), namespace, [text], option)
        except ValueError as error:
            braces = "{" in text and not text.lstrip().startswith("{")
            raise LoraBoundaryError(
                f"{option} {text}: lm_eval cannot read this; expected k=v,… or a JSON object"
                + (', and a value in braces only in such an object: {"k": {…}}' if braces else "")
            ) from error
    return dict(getattr(namespace, "found", {}))


class _Parser(ArgumentParser):
    """What lm-eval's action reports errors to; argparse's own ends the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)
