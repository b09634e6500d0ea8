"""``lora-boundary trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import set_up

_BASE = "Model"
_DATA = "Tasks and prompts"
_RUN = "Engine"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("trace")(trace)


def trace(
    pretrained: Annotated[
        str, typer.Option(help="Hub id or local folder of the base model.", rich_help_panel=_BASE)
    ],
    peft: Annotated[
        str, typer.Option(help="Hub id or local folder of the adapter.", rich_help_panel=_BASE)
    ],
    tasks: Annotated[
        str,
        typer.Option(
            help="lm-eval tasks, groups or tags, comma-separated; any with a gold answer.",
            rich_help_panel=_DATA,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write; other files in it stay.")],
    boundaries: Annotated[
        str,
        typer.Option(
            help="Cuts to trace beside the full adapter and the base model: a list such as "
            "`10,20`, or ranges."
        ),
    ] = "",
    split: Annotated[
        str | None,
        typer.Option(
            help="`validation` or `test`. Default: the first of them that a task has.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(help="Use the first N documents of each task.", rich_help_panel=_DATA),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Documents in a batch. Default: up to 16, fewer where memory runs out.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Precision, as for lm-eval's `hf`.", rich_help_panel=_BASE)
    ] = "auto",
    device: Annotated[
        str | None, typer.Option(help="As for lm-eval's `hf`.", rich_help_panel=_BASE)
    ] = None,
    document: Annotated[
        int | None,
        typer.Option(
            metavar="ID",
            help="Document to draw as a heatmap. Default: the one with the median probability.",
        ),
    ] = None,
    model_args: Annotated[
        str,
        typer.Option(
            help="Further arguments of lm-eval's `hf` model, k=v,…: revision, gguf_file, …",
            rich_help_panel=_BASE,
        ),
    ] = "",
    include_path: Annotated[
        str | None, typer.Option(help="Folder with further tasks.", rich_help_panel=_DATA)
    ] = None,
    num_fewshot: Annotated[
        int | None,
        typer.Option(
            help="Examples in each prompt. Default: what the task says.", rich_help_panel=_DATA
        ),
    ] = None,
    apply_chat_template: Annotated[
        bool,
        typer.Option(
            "--apply-chat-template",
            help="Use the tokenizer's chat template; examples become turns.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    system_instruction: Annotated[
        str | None, typer.Option(help="System message.", rich_help_panel=_DATA)
    ] = None,
) -> None:
    """Read the probability of the gold answer at every layer, and look for its sharp rise.

    Writes `trace.json` with the candidate boundary and how sure it is, the readings of every
    document, and plots, for the full adapter, the base model and any cuts side by side.

    Example: `lora-boundary trace --pretrained meta-llama/Llama-3.1-8B-Instruct --peft samsum-lora
    --tasks lora_boundary_samsum --split validation --limit 200 --output samsum-trace`
    """
    from lm_eval.utils import simple_parse_args_string

    from ..sweeps.run import as_names
    from ..traces.run import REPORT, run
    from ..traces.settings import TraceSettings

    set_up()
    settings = TraceSettings(
        pretrained=pretrained,
        peft=peft,
        tasks=as_names(tasks),
        boundaries=boundaries,
        split=split,
        limit=limit,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        document=document,
        model_args=simple_parse_args_string(model_args),
        include_path=include_path,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        system_instruction=system_instruction,
    )
    found = run(settings, output.expanduser())
    for task, entry in found["tasks"].items():
        print(f"{task}: {entry['verdict']}")
    print(output / REPORT)
