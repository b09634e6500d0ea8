"""``lora-boundary demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .options import Force
from .output import print_answer, set_up_logging


def demo(
    limit: Annotated[
        int, typer.Option(min=1, max=200, help="Use the first N documents of each split.")
    ] = 48,
    boundaries: Annotated[
        str, typer.Option(help="Boundaries to compare, -1 to 29, or `all`.")
    ] = "3,7,11,15,17,19,21,23,25,27",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write. Default: a temporary one, deleted at the end."),
    ] = None,
    force: Force = False,
) -> None:
    """Sweep boundaries of an adapter on a bundled model of 135M parameters, offline.

    The adapter was trained on two-hop questions about a fictional world. The command scores the
    base model (-1), the whole adapter (29) and cuts between them in one shared forward. It chooses
    on validation documents, tests the choice on test documents, and answers four questions: does
    the adapter help, is a cut better, which cut keeps what it gained, and could so few documents
    tell?

    Example: `lora-boundary demo --boundaries -1,10,20,29 --output demo-sweep`
    """
    import logging
    import tempfile

    from ..sweeps import demo as bundled
    from ..upstream.transformers import hide_progress_bars

    # The table is the point. Warnings of lm-eval and PEFT concern their developers.
    set_up_logging(logging.ERROR)
    hide_progress_bars()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sweep" if output is None else output
        bundled.run(folder, boundaries=boundaries, limit=limit, force=force)
        print_answer(folder)
    seconds = f"{time.perf_counter() - started:.0f} s"
    print(seconds if output is None else f"Report: {folder / 'report.html'} ({seconds})")
