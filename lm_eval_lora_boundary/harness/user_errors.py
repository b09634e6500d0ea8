"""A user's mistake on lm-eval's command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import LoraBoundaryError
from . import processes


class OneLineMistakes:
    """Makes an lm-eval model end ``lm_eval`` in one line if a user's argument cannot be used."""

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Create the model from ``--model_args``."""
        with one_line_for_mistakes():
            return super().create_from_arg_string(  # type: ignore[misc]
                arg_string, additional_config
            )

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Any:
        """Create the model from a dict."""
        with one_line_for_mistakes():
            return super().create_from_arg_obj(arg_dict, additional_config)  # type: ignore[misc]


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
