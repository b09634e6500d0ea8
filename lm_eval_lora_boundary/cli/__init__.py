"""The command line ``lora-boundary``: one module per command.

Commands import what they need when they run, so that ``--help`` is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import LoraBoundaryError
from ..harness import processes
from .compare import compare
from .demo import demo
from .export import export
from .interrupt import interruptible
from .output import hide_progress_bars
from .report import report
from .sweep import sweep
from .tasks import tasks
from .trace import trace
from .train import train

# other names of options: lm-eval's, and those that users try first
_ALIASES = {"output-path": "output", "adapter": "peft", "base": "pretrained"}


def _spelling(name: str) -> str:
    """Return our spelling of an option, which lm-eval spells with underscores."""
    name = name.replace("_", "-")
    return _ALIASES.get(name, name)


app = typer.Typer(
    name="lora-boundary",
    help="Test, choose and ship a cut of an adapter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _spelling},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lora-boundary {version('lm-eval-lora-boundary')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options of no command."""
    del version


_GOES_ON = "every answer so far is stored, and the same command goes on from there"
_STARTS_AGAIN = "files are complete or as they were, and the same command starts again"
COMMANDS: dict[Callable[..., Any], str] = {
    train: "the same command goes on from the last checkpoint",
    sweep: _GOES_ON,
    trace: _STARTS_AGAIN,
    report: _STARTS_AGAIN,
    compare: _STARTS_AGAIN,
    export: _STARTS_AGAIN,
    demo: _GOES_ON,
    tasks: _STARTS_AGAIN,
}
for command, kept in COMMANDS.items():
    app.command()(interruptible(command, kept))


def main() -> None:
    """Run the command line. Bad input ends in one line and exit status 2, Ctrl-C in 130."""
    hide_progress_bars()
    try:
        app()
    except LoraBoundaryError as error:
        processes.print_once(f"lora-boundary: error: {error}")
        raise SystemExit(2) from None
