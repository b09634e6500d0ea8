"""``lora-boundary export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .output import set_up


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export)


def export(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write; it appears whole or not at all.")
    ],
    pretrained: Annotated[str, typer.Option(help="Hub id or local folder of the base model.")],
    peft: Annotated[str, typer.Option(help="Hub id or local folder of the adapter.")],
    boundary: Annotated[
        str,
        typer.Option(
            metavar="K",
            help="Last layer whose LoRA is kept, or `auto` for what `sweep --save` recorded.",
        ),
    ],
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Write a full checkpoint with the kept layers merged in."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an adapter or checkpoint that is there.")
    ] = False,
    check: Annotated[
        str | None,
        typer.Option(help="`vllm`: write nothing unless vLLM will load the adapter, and say why."),
    ] = None,
    model_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V,…",
            help="Further arguments of lm-eval's `hf` model, as for `lm_eval`: revision, "
            "gguf_file, …; and peft_revision.",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Precision to verify and merge in, as for lm-eval's `hf`.")
    ] = "auto",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:N or mps. Default: the best there is.")
    ] = None,
) -> None:
    """Write an ordinary, smaller PEFT adapter with the layers 0..K only.

    Config and tensors are written together and loaded again: the logits must equal those of the
    cut in memory to the last bit, or nothing is written. Any engine that reads PEFT adapters
    loads the folder; it comes with a model card.

    Example: `lora-boundary export --pretrained meta-llama/Llama-3.1-8B-Instruct --peft samsum-lora
    --boundary 20 --check vllm samsum-lora-20`
    """
    from ..exports.api import export as run
    from ..harness.key_values import read_key_values

    set_up()
    facts = run(
        pretrained,
        peft,
        boundary,
        output,
        merge=merge,
        force=force,
        check=check,
        model_args=read_key_values(model_args, "--model-args"),
        dtype=dtype,
        device=device,
    )
    for line in _summary(facts, check):
        print(line)
    print(facts["output"])


def _summary(facts: dict[str, Any], check: str | None) -> list[str]:
    """Return what there is to say about an export."""
    share = facts["bytes"] / facts["source_bytes"] if "source_bytes" in facts else None
    lines = [
        f"layers 0-{facts['boundary']} of 0-{facts['num_layers'] - 1}: kept "
        f"{facts['kept_modules']} modules, {facts['kept_parameters']:,} parameters; dropped "
        f"{facts['dropped_modules']} modules, {facts['dropped_parameters']:,} parameters",
        f"{facts['bytes']:,} bytes" + (f", {share:.0%} of the adapter" if share else ""),
        f"verified: re-loaded, the logits are the same (largest difference "
        f"{facts['max_difference']}, {facts['dtype']})",
    ]
    if check == "vllm":
        lines.append(f"vLLM loads it with --max-lora-rank {facts['vllm_max_lora_rank']}")
        lines += facts["vllm_conditions"]
    return lines
