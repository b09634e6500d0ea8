"""``lora-boundary demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .output import set_up, wide_console


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo")(demo)


def demo(
    limit: Annotated[int, typer.Option(min=1, max=200, help="Documents of each split.")] = 24,
    boundaries: Annotated[str, typer.Option(help="Boundaries to compare, -1 to 29.")] = "all",
    output: Annotated[
        Path | None, typer.Option(help="Folder to write. Default: a temporary one, deleted after.")
    ] = None,
) -> None:
    """Sweep all boundaries of an adapter on an embedded model of 135M parameters, offline.

    The adapter was trained on two-hop questions about a fictional world. The command scores the
    base model (-1), the whole adapter (29) and every cut between from one shared forward, chooses
    on validation documents, and tries the choice on test documents.

    Example: `lora-boundary demo --boundaries -1,10,20,29 --output demo-sweep`
    """
    import logging
    import tempfile

    import transformers

    from ..report.terminal import tables
    from ..sweeps import demo as story

    # the table is the point; what lm-eval and PEFT say on the way concerns their developers
    set_up(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sweep" if output is None else output
        found = story.run(folder, boundaries=boundaries, limit=limit)
    console = wide_console()
    for table in tables(found):
        console.print(table)
    console.print(f"{time.perf_counter() - started:.0f} s")
    if output is not None:
        print(folder / "report.html")
