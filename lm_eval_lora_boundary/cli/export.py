"""``lora-boundary export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import MODEL, Device, ModelArgs, NamedBase, Peft
from .output import print_lines, set_up_logging


def export(
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Folder to write; it appears complete or not at all."),
    ],
    peft: Peft,
    pretrained: NamedBase = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="Last layer whose LoRA is kept, or `auto` for the cut that `sweep --save` "
            "recorded.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="CUT",
            help="Any other cut: layers and ranges joined by `+`, each with an optional strength: "
            "`0-9+20-29`, `all@0.7`.",
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Write a full checkpoint with the kept layers merged in."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing adapter or checkpoint.")
    ] = False,
    check: Annotated[
        str | None,
        typer.Option(
            help="`vllm`: write nothing unless vLLM can load the adapter; if it cannot, say why."
        ),
    ] = None,
    model_args: ModelArgs = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="Precision to verify and merge in, as for lm-eval's `hf`.", rich_help_panel=MODEL
        ),
    ] = "auto",
    device: Device = None,
) -> None:
    """Write an ordinary, smaller PEFT adapter with layers 0..K only, or any other cut.

    The adapter is written, loaded again and verified: its logits must equal those of the cut in
    memory to the last bit, or nothing is written. Any engine that reads PEFT adapters loads the
    folder. It comes with a model card.

    Example: `lora-boundary export --pretrained meta-llama/Llama-3.1-8B-Instruct --peft samsum-lora
    --boundary 20 --check vllm samsum-lora-20`
    """
    from ..exports.api import export as run
    from ..harness.key_values import read_key_values

    set_up_logging()
    facts = run(
        pretrained,
        peft,
        boundary,
        output,
        keep=keep,
        merge=merge,
        force=force,
        check=check,
        model_args=read_key_values(model_args, "--model-args"),
        dtype=dtype,
        device=device,
    )
    for line in _summary(facts, check):
        print_lines(line)
    print(facts["output"])


def _summary(facts: dict[str, Any], check: str | None) -> list[str]:
    """Return the lines to print about an export."""
    share = facts["bytes"] / facts["source_bytes"] if "source_bytes" in facts else None
    lines = [
        f"keep={facts['cut']} of layers 0-{facts['num_layers'] - 1}: kept "
        f"{facts['kept_modules']} modules, {facts['kept_parameters']:,} parameters; dropped "
        f"{facts['dropped_modules']} modules, {facts['dropped_parameters']:,} parameters",
        f"{facts['bytes']:,} bytes" + (f", {share:.0%} of the adapter" if share else ""),
        f"verified: loaded again, it gives the same logits (largest difference "
        f"{facts['max_difference']}, {facts['dtype']})",
    ]
    if check == "vllm":
        lines.append(f"vLLM loads it with --max-lora-rank {facts['vllm_max_lora_rank']}")
        lines += facts["vllm_conditions"]
    return lines
