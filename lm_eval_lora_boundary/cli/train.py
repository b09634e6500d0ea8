"""``lora-boundary train``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require_package
from .options import (
    DATA,
    MODEL,
    Data,
    IncludePath,
    NumFewshot,
    Pretrained,
    SystemInstruction,
)
from .output import announce, set_up_logging

_LORA = "LoRA"
_RUN = "Optimisation"


def train(
    pretrained: Pretrained,
    output: Annotated[
        Path,
        typer.Option(help="Adapter folder to write. If interrupted, the same command resumes."),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            help="lm-eval task of output type generate_until with a training split.",
            rich_help_panel=DATA,
        ),
    ] = None,
    data: Data = None,
    model_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V,…",
            help="Arguments of lm-eval's `hf` model, as for `lm_eval`: revision, gguf_file, "
            "tokenizer, subfolder, trust_remote_code, dtype (of the weights), add_bos_token, …",
            rich_help_panel=MODEL,
        ),
    ] = None,
    include_path: IncludePath = None,
    num_fewshot: NumFewshot = None,
    apply_chat_template: Annotated[
        bool | None,
        typer.Option(
            "--apply-chat-template",
            help="Use the tokenizer's chat template; few-shot examples become turns of "
            "the chat. Default: no; with chats as `--data`, yes.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    system_instruction: SystemInstruction = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Use the first N training documents.", rich_help_panel=DATA),
    ] = None,
    max_length: Annotated[
        int,
        typer.Option(
            help="Maximum length in tokens; longer prompts lose their beginning.",
            rich_help_panel=DATA,
        ),
    ] = 2048,
    rank: Annotated[int, typer.Option(help="LoRA rank.", rich_help_panel=_LORA)] = 8,
    alpha: Annotated[int, typer.Option(help="LoRA alpha.", rich_help_panel=_LORA)] = 16,
    dropout: Annotated[float, typer.Option(help="LoRA dropout.", rich_help_panel=_LORA)] = 0.05,
    target_modules: Annotated[
        str,
        typer.Option(
            help="Modules to adapt, comma-separated, such as q_proj,v_proj.", rich_help_panel=_LORA
        ),
    ] = "all-linear",
    boundary: Annotated[
        int | None,
        typer.Option(
            help="Train layers 0..K only. Default: all layers.",
            metavar="K",
            rich_help_panel=_LORA,
        ),
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.", rich_help_panel=_RUN)] = 3,
    lr: Annotated[
        float,
        typer.Option(help="Peak learning rate; it falls linearly to zero.", rich_help_panel=_RUN),
    ] = 1e-4,
    weight_decay: Annotated[
        float, typer.Option(help="Weight decay of AdamW.", rich_help_panel=_RUN)
    ] = 0.0,
    batch_size: Annotated[
        int, typer.Option(help="Documents per optimizer step.", rich_help_panel=_RUN)
    ] = 16,
    micro_batch_size: Annotated[
        int | None,
        typer.Option(
            help="Most documents in a forward pass, which are of about the same length; gradients "
            "accumulate up to the batch size. Default: the largest divisor of the batch size up "
            "to 4.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="`bfloat16`: autocast, also on CPU. `float32`: weights and computation. "
            "`auto`: by the precision of the stored weights.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or mps. Default: the best one available.", rich_help_panel=_RUN
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", rich_help_panel=_RUN)] = 0,
    save_steps: Annotated[
        int, typer.Option(help="Optimizer steps between checkpoints.", rich_help_panel=_RUN)
    ] = 50,
    save_epochs: Annotated[
        bool,
        typer.Option(
            "--save-epochs",
            help="Keep the adapter after each epoch too, in the folders epoch=1, epoch=2, … of the "
            "output.",
            rich_help_panel=_RUN,
        ),
    ] = False,
) -> None:
    """Fine-tune a LoRA adapter on an lm-eval task's own prompts and targets.

    The model sees exactly what `lm_eval` will show it, and only the target counts in the loss.
    The defaults are those of the paper. If interrupted, the same command resumes. `training.json`
    beside the adapter records the run.

    Example: `lora-boundary train --pretrained meta-llama/Llama-3.1-8B-Instruct
    --task lora_boundary_samsum --apply-chat-template --output samsum-lora`
    """
    require_package("trl", extra="train", what="lora-boundary train")
    from ..cuts.paths import check_base_path
    from ..harness.own_data.splits import uses_template
    from ..harness.settings import as_names, check_include_path, check_output
    from ..train.settings import TrainSettings

    set_up_logging()
    given = TrainSettings(
        pretrained=pretrained,
        task=task,
        data=data,
        include_path=include_path,
        num_fewshot=num_fewshot,
        apply_chat_template=uses_template(data, apply_chat_template),
        system_instruction=system_instruction,
        limit=limit,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        target_modules=as_names(target_modules),
        boundary=boundary,
        epochs=epochs,
        lr=lr,
        weight_decay=weight_decay,
        max_length=max_length,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        dtype=dtype,
        device=device,
        seed=seed,
        save_steps=save_steps,
        save_epochs=save_epochs,
    )
    check_base_path(pretrained, has_arguments=bool(model_args))
    check_include_path(include_path)
    check_output(output)
    announce("loading lm-eval and torch …")
    from ..harness.key_values import read_key_values
    from ..train.run import train as run

    settings = replace(given, model_args=read_key_values(model_args, "--model-args"))
    print(run(settings, output, command=shlex.join(["lora-boundary", *sys.argv[1:]])))
