"""What a user can get wrong, one class per thing; everything else is a bug and keeps its traceback.

Every message says what was given, what was expected and what to do. The command line prints it
as one line and exits with status 2; Python callers catch :class:`LoraBoundaryError` or, since all
of these are about a bad value, ``ValueError``.
"""

from __future__ import annotations


class LoraBoundaryError(ValueError):
    """Base of every error that a user of this package can cause."""


class BoundaryError(LoraBoundaryError):
    """The boundary is not an integer in ``-1..N-1``, or no boundary is recorded for ``auto``."""


class AdapterError(LoraBoundaryError):
    """The adapter is missing, damaged, of another kind, or made for another base model."""


class ModelError(LoraBoundaryError):
    """The base model cannot be used: encoder-decoder, or no stack of decoder layers."""


class TaskError(LoraBoundaryError):
    """The task is unknown, or lacks what the command needs of it."""


class TaskDataError(LoraBoundaryError):
    """The data of a bundled task cannot be had."""


class OutputError(LoraBoundaryError):
    """The output folder cannot be used, or belongs to another run."""
