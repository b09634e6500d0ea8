"""What a user can get wrong, one class for each kind. All else is a bug and keeps its traceback.

Every message says what was given, what was expected and what to do. The command line prints it
as one line and exits with status 2. Python callers catch :class:`LoraBoundaryError`, or
``ValueError``, since all of these are about a bad value.
"""

from __future__ import annotations


class LoraBoundaryError(ValueError):
    """Base class of the errors that a user of this package can cause."""


class BoundaryError(LoraBoundaryError):
    """The boundary is not an integer in ``-1..N-1``, or no boundary is recorded for ``auto``."""


class AdapterError(LoraBoundaryError):
    """The adapter is missing, damaged, not LoRA, or made for another base model."""


class ModelError(LoraBoundaryError):
    """The base model cannot be used: it is not decoder-only, or has no list of decoder layers."""


class TaskError(LoraBoundaryError):
    """The task is unknown, or lacks something that the command needs."""


class TaskDataError(LoraBoundaryError):
    """The data of a bundled task cannot be loaded."""


class OutputError(LoraBoundaryError):
    """The output folder cannot be used, or belongs to another run."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, and the next one too if it ends with a colon."""
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first += " " + rest.strip().partition("\n")[0]
    return first
