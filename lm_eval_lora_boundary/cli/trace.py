"""``lora-boundary trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    RUN,
    ApplyChatTemplate,
    Data,
    Device,
    Dtype,
    Force,
    IncludePath,
    Limit,
    ModelArgs,
    NamedBase,
    NoTemplate,
    NoTexts,
    NumFewshot,
    Peft,
    Split,
    SystemInstruction,
    Tasks,
    TrackioArgs,
    WandbArgs,
    WandbConfigArgs,
    read_batch_size,
)
from .output import announce, print_lines, set_up_logging


def trace(
    peft: Peft,
    output: Annotated[
        Path,
        typer.Option(help="Folder to write; other files in it are kept."),
    ],
    tasks: Tasks = None,
    data: Data = None,
    pretrained: NamedBase = None,
    boundaries: Annotated[
        str,
        typer.Option(
            help="Boundaries to trace besides the whole adapter and the base model: a list such "
            "as `10,20`, or ranges."
        ),
    ] = "",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CUT",
            help="Another cut to trace, such as `0-9+20-29` or `all@0.7`; can be repeated.",
        ),
    ] = None,
    gradient: Annotated[
        bool,
        typer.Option(
            "--gradient",
            help="Also compute how much each layer's LoRA adds to the gold answer, from a few "
            "forward and backward passes, and suggest a boundary by it.",
        ),
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="With `--gradient`: also measure what it predicts, with two forward passes for "
            "every layer of the model.",
        ),
    ] = False,
    split: Split = None,
    limit: Limit = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            parser=read_batch_size,
            metavar="N|auto",
            help="Documents in a batch. Default: up to 16, 4 for a gradient, fewer if memory runs "
            "out.",
            rich_help_panel=RUN,
        ),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
    document: Annotated[
        int | None,
        typer.Option(
            metavar="ID",
            help="Document to draw as a heatmap. Default: the one with the median probability.",
        ),
    ] = None,
    model_args: ModelArgs = None,
    include_path: IncludePath = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = None,
    no_template: NoTemplate = False,
    system_instruction: SystemInstruction = None,
    no_texts: NoTexts = False,
    wandb_args: WandbArgs = None,
    wandb_config_args: WandbConfigArgs = None,
    trackio_args: TrackioArgs = None,
    force: Force = False,
) -> None:
    """Read the probability of the gold answer at every layer, and find where it rises sharply.

    Writes `trace.json` with the candidate boundary and its uncertainty, the values of every
    document, and plots, for the whole adapter, the base model and any cuts side by side. With
    `--gradient`, also what each layer's LoRA adds, and a second suggestion.

    Example: `lora-boundary trace --pretrained meta-llama/Llama-3.1-8B-Instruct --peft samsum-lora
    --tasks lora_boundary_samsum --split validation --limit 200
    --output samsum-trace`
    """
    from ..harness.as_trained import prompt_settings
    from ..harness.loggers.options import logger_options
    from ..harness.run_folder import first_settings, refuse_other_trace
    from ..traces.settings import TraceSettings

    set_up_logging()
    output = output.expanduser()
    loggers = logger_options(None, wandb_args, wandb_config_args, trackio_args)
    given = TraceSettings(
        pretrained=pretrained or "",
        peft=peft,
        **prompt_settings(
            peft,
            model_args,
            tasks=tasks,
            data=data,
            include_path=include_path,
            num_fewshot=num_fewshot,
            apply_chat_template=apply_chat_template,
            no_template=no_template,
            system_instruction=system_instruction,
        ),
        boundaries=boundaries,
        keep=tuple(keep or ()),
        split=split,
        limit=limit,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        document=document,
        gradient=gradient,
        measure=measure,
        no_texts=no_texts,
    )
    given.check_paths(output, has_arguments=bool(model_args))
    if not force:
        refuse_other_trace(output, first_settings(given.as_json()))
    announce("loading lm-eval and torch …")
    from ..files import TRACE
    from ..harness.given import completed
    from ..traces.layer_map import summary as gradient_summary
    from ..traces.logged import log_trace
    from ..traces.run import run

    summary = run(completed(given, model_args=model_args), output, force=force)
    for task, entry in summary["tasks"].items():
        print_lines(f"{task}: {entry['verdict']}")
        if gradient:
            for line in gradient_summary(entry["gradient"]):
                print_lines(f"  {line}")
    print(output / TRACE)
    if loggers:
        log_trace(output, summary, loggers)
