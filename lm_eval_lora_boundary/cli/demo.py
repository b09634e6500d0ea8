"""``lora-boundary demo``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

METRICS = ("exact_match", "f1", "subspan_em", "length_ratio")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo")(demo)


def demo(
    limit: Annotated[int, typer.Option(min=1, max=200, help="Number of test documents.")] = 40,
    boundaries: Annotated[str, typer.Option(help="Boundaries to compare, -1 to 29.")] = "-1,20,29",
    batch_size: Annotated[int, typer.Option(min=1, help="Documents per batch.")] = 20,
) -> None:
    """Show what a boundary does, on an embedded model of 135M parameters, without network.

    The adapter was trained on two-hop questions about a fictional world. The command evaluates it
    as the base model (-1), cut, and whole (29) with lm-evaluation-harness.

    Example: `lora-boundary demo --boundaries -1,10,20,29`
    """
    import logging
    import warnings

    import transformers
    from rich.console import Console
    from rich.table import Table

    from .. import demo as story
    from ..boundaries import parse_boundaries

    # the table is the point; what lm-eval and PEFT say on the way concerns their developers
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    started = time.perf_counter()
    wanted = parse_boundaries(boundaries, layers=30)
    table = Table(title=f"{story.TASK}, {limit} documents")
    for heading in ("boundary", "kept LoRA parameters", *METRICS):
        table.add_column(heading, justify="right")
    for lm, metrics in story.evaluate(wanted, limit=limit, batch_size=batch_size):
        facts = lm.get_model_info()
        name = {-1: "-1 (base)", facts["num_layers"] - 1: f"{lm.boundary} (all)"}
        table.add_row(
            name.get(lm.boundary, str(lm.boundary)),
            f"{facts['kept_parameters']:,}",
            *(f"{metrics[f'{metric},none']:.3f}" for metric in METRICS),
        )
    console = Console()
    console.print(table)
    console.print(f"{time.perf_counter() - started:.0f} s")
