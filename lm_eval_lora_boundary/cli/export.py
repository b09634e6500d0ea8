"""``lora-boundary export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LoraBoundaryError
from .options import MODEL, Device, ModelArgs, NamedBase
from .output import print_lines, set_up_logging


def export(
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Folder to write; it appears complete or not at all."),
    ],
    sweep: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SWEEP",
            help="Folder of a finished sweep: takes base model, adapter and recommended cut from "
            "it, and writes its scores into the model card. Other options override it.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="With `--from`: the task whose choice is meant, if they differ."),
    ] = None,
    peft: Annotated[
        str | None,
        typer.Option(help="Hub id or local folder of the adapter.", rich_help_panel=MODEL),
    ] = None,
    pretrained: NamedBase = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="Last layer that keeps its part of the adapter, or `auto` for the cut that "
            "`sweep --save` recorded.",
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
            metavar="vllm",
            help="Write nothing unless vLLM can load the adapter, judged by names and config in a "
            "moment, without vLLM; if it cannot, say why.",
        ),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            metavar="vllm|logits",
            help="`vllm`: do that, then start vLLM, which must be installed, and write nothing "
            "unless its log-probabilities with the adapter (or of the merged checkpoint) are those "
            "of PEFT, and differ from the base model's. `logits`: load the base model and compare "
            "logits, also where comparing modules is enough.",
        ),
    ] = None,
    vllm_args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V,…",
            help="Arguments of vLLM's `LLM` for `--verify`: gpu_memory_utilization, "
            "tensor_parallel_size, …",
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

    The adapter is written, loaded again with PEFT and verified: it must do what the cut does, to
    the last bit, or nothing is written. Plain LoRA is verified module by module, without the base
    model's weights; other kinds by their logits. Any engine that reads PEFT adapters loads the
    folder. It comes with a model card.

    For vLLM, `--check` asks whether it will load the adapter, and `--verify` whether it then
    computes the same as PEFT.

    Example: `lora-boundary export --from samsum-sweep --check vllm samsum-lora-cut`
    """
    from ..exports.api import LOGITS
    from ..exports.api import export as run
    from ..exports.usage import usage
    from ..harness.key_values import read_key_values
    from ..vllm.export_engine import ENGINES, VllmEngine

    set_up_logging()
    engine: VllmEngine | str | None = None
    if verify == LOGITS:
        engine = verify
    elif verify is not None:
        if verify not in ENGINES:
            expected = " or ".join((*ENGINES, LOGITS))
            raise LoraBoundaryError(f"--verify {verify}: expected {expected}")
        engine = VllmEngine(read_key_values(vllm_args, "--vllm-args"))
    if vllm_args and not isinstance(engine, VllmEngine):
        raise LoraBoundaryError("--vllm-args is for --verify vllm, which is not given")
    facts = run(
        pretrained,
        peft,
        boundary,
        output,
        sweep=sweep,
        task=task,
        keep=keep,
        merge=merge,
        force=force,
        check=check,
        verify=engine,
        model_args=read_key_values(model_args, "--model-args"),
        dtype=dtype,
        device=device,
    )
    for line in [*_summary(facts, check), *usage(facts)]:
        print_lines(line)
    print(facts["output"])


def _summary(facts: dict[str, Any], check: str | None) -> list[str]:
    """Return the lines to print about an export."""
    share = facts["bytes"] / facts["source_bytes"] if "source_bytes" in facts else None
    how = (
        f"PEFT loads it into {facts['kept_modules']} modules, each of which adds what it adds in "
        "the cut, to the last bit (--verify logits compares whole logits)"
        if facts["verified"] == "modules"
        else f"loaded again, it gives the same logits (largest difference "
        f"{facts['max_difference']}, {facts['dtype']})"
    )
    lines = [
        f"keep={facts['cut']} of layers 0-{facts['num_layers'] - 1}: kept "
        f"{facts['kept_modules']} modules, {facts['kept_parameters']:,} parameters; dropped "
        f"{facts['dropped_modules']} modules, {facts['dropped_parameters']:,} parameters",
        f"{facts['bytes']:,} bytes" + (f", {share:.0%} of the adapter" if share else ""),
        *facts["buys"][1:],
        *facts.get("speed", ()),
        f"verified: {how}",
    ]
    engine = facts.get("engine")
    if engine is not None:
        changed = (
            f"; the cut changes them by up to {engine['effect']:.2g}" if "effect" in engine else ""
        )
        lines.append(
            f"verified in {engine['name']}: its log-probabilities differ from PEFT's by up to "
            f"{engine['largest_difference']:.2g} ({engine['dtype']}, {engine['version']}){changed}"
        )
    if check == "vllm" or (engine is not None and not facts["merge"]):
        lines.append(f"vLLM loads it with --max-lora-rank {facts['vllm_max_lora_rank']}")
        lines += facts["vllm_conditions"]
    return lines
