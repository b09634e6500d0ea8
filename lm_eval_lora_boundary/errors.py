"""What a user can get wrong, one class for each kind. All else is a bug and keeps its traceback.

Every message says what was given, what was expected and what to do. The command line prints it
as one line and exits with status 2. Python callers catch :class:`LoraBoundaryError`, or
``ValueError``, since all of these are about a bad value.

Messages quote files and names that strangers chose. So this module also makes text inert: what a
terminal would obey is shown instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

_LONGEST = 2000  # characters of a message
_LINE_ENDS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")  # of all kinds, and tabs
# What terminals obey (ESC begins colours, titles and links), what turns the direction of text, and
# halves of characters, which cannot be printed
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def inert(text: str) -> str:
    r"""Return text as one line that a terminal only shows: ESC becomes the four characters \x1b."""
    return _OBEYED.sub(_shown, _LINE_ENDS.sub(" ", text))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _shortened(line: str) -> str:
    """Return a line without its middle if it is too long; the end says what to do."""
    if len(line) <= _LONGEST:
        return line
    half = _LONGEST // 2 - 2
    return f"{line[:half]} … {line[-half:]}"


def _make_inert(record: logging.LogRecord) -> bool:
    record.msg, record.args = _shortened(inert(record.getMessage())), ()
    return True


# Messages of all modules go through this logger; who prints them is up to the program.
logging.getLogger("lm_eval.lora_boundary").addFilter(_make_inert)


class LoraBoundaryError(ValueError):
    """Base class of the errors that a user of this package can cause.

    Its message is one inert line of limited length, whatever it quotes.
    """

    def __init__(self, message: object = "") -> None:
        """Take the message."""
        super().__init__(_shortened(inert(str(message))))


class BoundaryError(LoraBoundaryError):
    """The boundary is not an integer in ``-1..N-1``, or no boundary is recorded for ``auto``."""


class AdapterError(LoraBoundaryError):
    """The adapter is missing, damaged, of a kind without layers, or made for another base model."""


class ModelError(LoraBoundaryError):
    """The base model cannot be used: it is not decoder-only, or has no list of decoder layers."""


class NotFiniteError(ModelError):
    """A logit is NaN or infinite, so a request has no right answer.

    Who raises it knows the tokens, and who catches it knows what they are called.

    Attributes:
        context: Token ids of the request's context or prompt.
        continuation: Token ids of its continuation; none if it asks for a response.
        cut: Number of the cut among those that are answered together, or its name.
    """

    def __init__(
        self, context: Sequence[int], continuation: Sequence[int] = (), cut: int | str = 0
    ) -> None:
        """Describe the request."""
        super().__init__(f"the logits are NaN or infinite; {self.REMEDY}")
        self.context, self.continuation = tuple(context), tuple(continuation)
        self.cut = cut

    def __reduce__(self) -> tuple[Any, ...]:
        """Let other processes rebuild the error from the request."""
        return type(self), (self.context, self.continuation, self.cut)

    REMEDY = (
        "give --dtype float32 or bfloat16; if it is one of them, the base model or the adapter "
        "holds such numbers"
    )


class TaskError(LoraBoundaryError):
    """The task is unknown, or lacks something that the command needs."""


class TaskDataError(LoraBoundaryError):
    """The data of a bundled task cannot be loaded."""


class OutputError(LoraBoundaryError):
    """The output folder cannot be used, or belongs to another run."""


class MissingPackageError(LoraBoundaryError):
    """An optional package is not installed."""


def require_package(*modules: str, extra: str, what: str, otherwise: str = "") -> None:
    """Refuse to go on without the modules of an optional package.

    Args:
        *modules: Names of the modules; the message names the first one that is missing.
        extra: The extra of this package that installs them.
        what: What needs them; the beginning of the message.
        otherwise: What to do without them; the end of the message.

    Raises:
        MissingPackageError: One is not installed.
    """
    missing = next((name for name in modules if not _is_installed(name)), None)
    if missing is not None:
        command = f"pip install 'lm-eval-lora-boundary[{extra}]'"
        end = f", or {otherwise}" if otherwise else ""
        raise MissingPackageError(f"{what} needs {missing}; install it with: {command}{end}")


def _is_installed(module: str) -> bool:
    spec = find_spec(module)
    # a folder that only has the name, such as W&B's ./wandb, has no origin
    return spec is not None and spec.origin is not None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, and the next one too if it ends with a colon."""
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first += " " + rest.strip().partition("\n")[0]
    return first
