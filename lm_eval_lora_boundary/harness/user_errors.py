"""Report a user's error in one line on lm-eval's command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import LoraBoundaryError
from . import processes


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """On lm-eval's command line, print a user's error as one line and exit with status 2.

    Python callers get the exception.
    """
    try:
        yield
    except LoraBoundaryError as error:
        program = Path(sys.argv[0] or "python")
        on_command_line = program.stem in {"lm_eval", "lm-eval"} or (
            program.name == "__main__.py" and program.parent.name == "lm_eval"
        )
        if not on_command_line:
            raise
        processes.print_once(f"lora_boundary: error: {error}")
        raise SystemExit(2) from None


class CommandLineModel:
    """An lm-eval model that ends ``lm_eval`` in one line if an argument cannot be used."""

    @classmethod
    @exit_on_user_error()
    def create_from_arg_string(cls, *args: Any, **kwargs: Any) -> Any:
        """Create the model from ``--model_args``."""
        return super().create_from_arg_string(*args, **kwargs)  # type: ignore[misc]

    @classmethod
    @exit_on_user_error()
    def create_from_arg_obj(cls, *args: Any, **kwargs: Any) -> Any:
        """Create the model from a dict of arguments."""
        return super().create_from_arg_obj(*args, **kwargs)  # type: ignore[misc]
