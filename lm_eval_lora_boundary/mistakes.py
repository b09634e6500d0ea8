"""A user's mistake on lm-eval's command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import processes
from .errors import LoraBoundaryError


@contextmanager
def one_line_for_mistakes() -> Iterator[None]:
    """On lm-eval's command line, print a user's mistake as one line and exit with status 2.

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
