"""The command line ``lora-boundary``: one module per command, this one for what they share."""

from __future__ import annotations

import typer

from ..errors import LoraBoundaryError
from ..harness import processes
from . import compare, demo, export, report, sweep, tasks, trace, train
from .output import quiet_bars

app = typer.Typer(
    name="lora-boundary",
    help="Test, choose and ship the boundary layer of a LoRA adapter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (train, sweep, trace, report, compare, export, demo, tasks):
    command.register(app)


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 2."""
    quiet_bars()
    try:
        app()
    except LoraBoundaryError as error:
        processes.print_once(f"lora-boundary: error: {error}")
        raise SystemExit(2) from None
