"""``lora-boundary sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DATA,
    RUN,
    AllRows,
    ApplyChatTemplate,
    Data,
    Device,
    Dtype,
    Force,
    HubLogArgs,
    IncludePath,
    Limit,
    LogSamples,
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
    Wide,
    read_batch_size,
)
from .output import (
    announce,
    print_answer,
    print_lines,
    print_paragraphs,
    set_up_logging,
)
from .sweep_options import ConfirmRunUnsafeCode, GenKwargs, Save, WriteTask


def sweep(
    peft: Peft,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write; needed unless `--write-task` is given. If interrupted, the same "
            "command resumes there.",
            show_default=False,
        ),
    ] = None,
    tasks: Tasks = None,
    data: Data = None,
    pretrained: NamedBase = None,
    boundaries: Annotated[
        str,
        typer.Option(
            help="`all`, ranges such as `0-29`, or a list such as `10,20`. The base model (-1) "
            "and the whole adapter (N-1) are always scored too, to compare the others with them."
        ),
    ] = "all",
    family: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME…]",
            help="Families of cuts to score. Orders, which drop one layer after another: `upper` "
            "(from the top: the boundaries), `lower` (from the bottom), `random[:SEED]`, `norm` "
            "(smallest LoRA update first), `output` (smallest LoRA output on the task's prompts "
            "first), `map` (least important first, by `each`). `each`: all layers but one. `only`: "
            "one layer alone. `scale[:λ1:λ2…]`: the whole adapter at these strengths. `file:PATH`: "
            "one cut per line, such as `0-9+20-29@0.5`.",
        ),
    ] = "upper",
    candidates: Annotated[
        str,
        typer.Option(
            help="`all`: score all of these boundaries. `trace`: trace the gold answers first, "
            "and score only the boundaries around the one that the trace suggests. `gradient`: "
            "compute a gradient first, and score five boundaries for each task."
        ),
    ] = "all",
    split: Split = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="M[,FILTER]",
            help="Metric to choose by. Default: the first metric of each task. With `--data`: "
            "`exact_match`, `rougeL`, `loglikelihood`, or a function (response, gold) of your own "
            "as `FILE.py:FUNCTION`; default: what suits the gold answers.",
        ),
    ] = None,
    margin: Annotated[
        str,
        typer.Option(
            metavar="SHARE%|LOSS",
            help="How much a cut may lose and still count as keeping what the adapter gained: a "
            "share of the gain over the base model, such as `10%`, or a loss in the metric's "
            "unit, such as `0.02`.",
        ),
    ] = "10%",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Field of a document that says what it belongs to, such as `docid`: documents "
            "that belong together are drawn together. Default: the task's own "
            "`metadata: {cluster: FIELD}`, if it has one; `none`: no field.",
            rich_help_panel=DATA,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="TASK[,TASK…]",
            help="Further tasks to score under the same cuts, such as `hellaswag` or `wikitext`, "
            "to see what a cut gives back elsewhere.",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Limit = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            parser=read_batch_size,
            metavar="N|auto",
            help="Rows (documents × cuts) in a batch. Default: as many as memory allows.",
            rich_help_panel=RUN,
        ),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
    engine: Annotated[
        str,
        typer.Option(
            help="`fork`: all cuts in one shared forward. `toggle`: one after another. "
            "`auto`: fork where it works. `vllm`: each cut is an adapter in one vLLM engine, "
            "and `--model-args` are those of lm-eval's `vllm` model.",
            rich_help_panel=RUN,
        ),
    ] = "auto",
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Stop scoring a cut once it has clearly lost.",
            rich_help_panel=RUN,
        ),
    ] = False,
    error_rate: Annotated[
        float,
        typer.Option(
            help="Largest probability that the race drops the cut that would have won.",
            rich_help_panel=RUN,
        ),
    ] = 0.2,
    model_args: ModelArgs = None,
    include_path: IncludePath = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: ApplyChatTemplate = None,
    no_template: NoTemplate = False,
    system_instruction: SystemInstruction = None,
    gen_kwargs: GenKwargs = None,
    confirm_run_unsafe_code: ConfirmRunUnsafeCode = False,
    confirm: Annotated[
        bool,
        typer.Option(
            help="After choosing on the validation split, score what may be recommended, the "
            "whole adapter and the base model on the test split."
        ),
    ] = True,
    save: Save = False,
    all_rows: AllRows = False,
    wide: Wide = False,
    no_texts: NoTexts = False,
    write_task: WriteTask = None,
    speed: Annotated[
        bool,
        typer.Option(
            help="In the end, measure for a few seconds how long a token takes with the choice, "
            "the whole adapter and the base model.",
            rich_help_panel=RUN,
        ),
    ] = True,
    hf_hub_log_args: HubLogArgs = None,
    wandb_args: WandbArgs = None,
    wandb_config_args: WandbConfigArgs = None,
    trackio_args: TrackioArgs = None,
    log_samples: LogSamples = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Answer a few requests, print how many minutes and how much memory it would take, "
            "and what so many documents can show, then stop.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Score every boundary of an adapter, or other cuts of it, loading the model once.

    Writes `sweep.json`, `report.html` and, in `boundary=K/` or `cut=CUT/`, lm-eval's own results
    and samples of every cut (-1 is the base model, N-1 the whole adapter). If interrupted, the same
    command resumes.

    Example: `lora-boundary sweep --pretrained meta-llama/Llama-3.1-8B-Instruct --peft samsum-lora
    --tasks lora_boundary_samsum --split validation --limit 200
    --output samsum-sweep`
    """
    from ..harness.as_trained import prompt_settings
    from ..harness.loggers.options import logger_options
    from ..harness.run_folder import first_settings, refuse_other_sweep
    from ..harness.settings import as_names, output_folder
    from ..sweeps.settings import SweepSettings

    set_up_logging()
    folder = output_folder(write_task or output)
    loggers = logger_options(
        *(hf_hub_log_args, wandb_args, wandb_config_args, trackio_args),
        samples=log_samples,
        no_texts=no_texts,
    )
    given = SweepSettings(
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
        family=as_names(family),
        candidates=candidates,
        split=split,
        metric=metric,
        margin=margin,
        cluster=cluster,
        control=as_names(control or ""),
        limit=limit,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        engine=engine,
        race=race,
        error_rate=error_rate,
        confirm=confirm,
        save=save,
        no_texts=no_texts,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
    given.check_paths(folder, has_arguments=bool(model_args))
    if not (force or dry_run or write_task):
        refuse_other_sweep(folder, first_settings(given.as_json()))
    announce("loading lm-eval and torch …")
    from ..files import REPORT
    from ..harness import processes
    from ..harness.given import completed
    from ..sweeps.logged import log_sweep
    from ..sweeps.plan import plan
    from ..sweeps.run import run
    from ..sweeps.write_task import write

    settings = completed(given, model_args=model_args, gen_kwargs=gen_kwargs)
    if write_task is not None:
        print_lines(write(settings, folder))
        return
    if dry_run:
        text = plan(settings, folder)
        if processes.rank() == 0:
            print_paragraphs(text)
        return
    run(settings, folder, force=force, speed=speed)
    if processes.rank() == 0:
        print_answer(folder, all_rows=all_rows, wide=wide)
        print(f"Report: {folder / REPORT}")
        if loggers:
            log_sweep(folder, loggers)
