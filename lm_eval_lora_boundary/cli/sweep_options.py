"""Options of `lora-boundary sweep` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DATA

GenKwargs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="Generation arguments that override those of the tasks, as for `lm_eval`: "
        '`max_gen_toks=64,until=["Q:"]` or a JSON object.',
        rich_help_panel=DATA,
    ),
]
ConfirmRunUnsafeCode = Annotated[
    bool,
    typer.Option(
        "--confirm-run-unsafe-code",
        help="Evaluate tasks that run code written by the model.",
        rich_help_panel=DATA,
    ),
]
Save = Annotated[
    bool,
    typer.Option(
        "--save",
        help="Record the choice in the adapter folder, for boundary=auto: a cut only if the "
        "test split shows that it is better than the whole adapter or keeps its gain, else "
        "the whole adapter; nothing, if there was no reason to choose.",
    ),
]
WriteTask = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="With `--data`: write the task as a folder for `lm_eval --include_path`, then stop.",
        rich_help_panel=DATA,
    ),
]
