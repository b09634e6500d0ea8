"""``lora-boundary report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(report)


def report(
    folder: Annotated[Path, typer.Argument(help="The --output folder of a finished sweep.")],
) -> None:
    """Draw the plots of a finished sweep and write its `report.html`, anew.

    A sweep does so itself at its end; this is for older folders, or after a trace. The page is
    one file that needs no network. It holds every prompt and answer of the sweep.

    Example: `lora-boundary report samsum-sweep`
    """
    from ..report.write import write_report

    print(write_report(folder.expanduser()))
