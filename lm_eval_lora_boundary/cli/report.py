"""``lora-boundary report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The --output folder of a finished sweep.")],
) -> None:
    """Rebuild the plots and the `report.html` of a finished sweep.

    A sweep writes them at its end. Use this for older folders, or after a trace. The page is one
    file that needs no network. It contains every prompt and response of the sweep.

    Example: `lora-boundary report samsum-sweep`
    """
    from ..report.write import write_report

    print(write_report(folder.expanduser()))
