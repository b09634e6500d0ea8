"""``lora-boundary report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AllRows, Wide
from .output import print_answer


def report(
    folder: Annotated[Path, typer.Argument(help="The --output folder of a finished sweep.")],
    all_rows: AllRows = False,
    wide: Wide = False,
) -> None:
    """Print the result of a finished sweep, and rebuild its plots and `report.html`.

    A sweep does both at its end. Use this for older folders, or after a trace. The page is one
    file that needs no network. It contains every prompt and response of the sweep, unless that ran
    with `--no-texts`.

    Example: `lora-boundary report samsum-sweep`
    """
    from ..report.write import write_report

    folder = folder.expanduser()
    path = write_report(folder)
    print_answer(folder, all_rows=all_rows, wide=wide)
    print(f"Report: {path}")
