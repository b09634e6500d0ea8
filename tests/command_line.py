"""Runs the command line ``lora-boundary`` in this process, and finds that of lm-eval."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from lm_eval_lora_boundary import cli


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    code: int
    out: str
    err: str


def lm_eval_script(folder: Path) -> list[str]:
    """Return the command that runs lm-eval's script, also where it is not on the PATH.

    An environment that takes lm-eval from another one has no script, so one is written here.
    """
    script = Path(sys.executable).parent / "lm_eval"
    if script.exists():
        return [str(script)]
    script = folder / "lm_eval"
    script.write_text("from lm_eval.__main__ import cli_evaluate\n\ncli_evaluate()\n")
    return [sys.executable, str(script)]


def command_line(*arguments: str) -> CommandResult:
    """Run a command. Errors that would end in a traceback are raised."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    root = logging.getLogger()
    handler = logging.StreamHandler(err)
    root.addHandler(handler)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "argv", ["lora-boundary", *arguments]),
        ):
            cli.main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        root.removeHandler(handler)
    return CommandResult(code, out.getvalue(), err.getvalue())
