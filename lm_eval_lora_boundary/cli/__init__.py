"""The command line ``lora-boundary``: one module per command.

Commands import what they need when they run, so that ``--help`` is fast.
"""

from __future__ import annotations

import typer

from ..errors import LoraBoundaryError
from ..harness import processes
from .compare import compare
from .demo import demo
from .export import export
from .output import hide_progress_bars
from .report import report
from .sweep import sweep
from .tasks import tasks
from .trace import trace
from .train import train

app = typer.Typer(
    name="lora-boundary",
    help="Test, choose and ship the boundary layer of a LoRA adapter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (train, sweep, trace, report, compare, export, demo, tasks):
    app.command()(command)


def main() -> None:
    """Run the command line. Bad input ends in one line and exit status 2."""
    hide_progress_bars()
    try:
        app()
    except LoraBoundaryError as error:
        processes.print_once(f"lora-boundary: error: {error}")
        raise SystemExit(2) from None
