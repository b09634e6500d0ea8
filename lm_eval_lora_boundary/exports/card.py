"""The model card: what was kept, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

PLACEHOLDER = "THIS_FOLDER"  # a card does not know where it will be read

_TAGS = ["lora", "lora-boundary"]


def model_card(facts: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
    """Return the text of README.md.

    Args:
        facts: The facts of the export.
        choice: What a sweep recorded about the choice of the boundary; empty if nothing.
    """
    merged = facts["merge"]
    base = facts["base_model"]
    data = ModelCardData(
        base_model=base or None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=[*([f"base_model:adapter:{base}"] if base and not merged else []), *_TAGS],
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        _title(facts),
        _table(facts),
        *([_choice(choice)] if choice else []),
        "## Load it",
        _merged_use() if merged else _adapter_use(facts),
    ]
    return str(ModelCard("\n\n".join(parts) + "\n"))


def _title(facts: Mapping[str, Any]) -> str:
    base = f"`{facts['base_model']}`" if facts["base_model"] else "its base model"
    top, boundary = facts["num_layers"] - 1, facts["boundary"]
    if facts["merge"]:
        name, start = "Merged model", f"{base} with a LoRA adapter merged into"
    else:
        name, start = "LoRA adapter", f"A LoRA adapter of {base} for"
    if not facts["dropped_modules"]:
        return f"# {name}, whole\n\n{start} its layers; nothing is dropped."
    return (
        f"# {name}, boundary layer {boundary}\n\n{start} layers 0–{boundary} of 0–{top}. It was "
        "trained on more layers; what it held above the boundary is dropped, as described in "
        "[arXiv 2503.23360](https://arxiv.org/abs/2503.23360). No weight was trained again."
    )


def _table(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    rows = {
        "boundary": f"{facts['boundary']} (the last layer whose LoRA is kept)",
        "kept": f"{facts['kept_modules']} modules, {facts['kept_parameters']:,} parameters",
        "dropped": f"{facts['dropped_modules']} modules, "
        f"{facts['dropped_parameters']:,} parameters",
        "source adapter": f"`{facts['source']}`, SHA-256 of its tensors "
        f"`{facts['adapter_sha256']}`",
    }
    if not facts["merge"]:
        rows["this adapter"] = f"SHA-256 of its tensors `{facts['exported_sha256']}`"
    rows |= {
        "verified": f"re-loaded, its logits equal those of the cut in memory ({facts['dtype']}, "
        f"largest difference {facts['max_difference']})",
        "written with": versions,
    }
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]
    )


def _choice(choice: Mapping[str, Any]) -> str:
    """Say how the boundary was chosen; records of older releases hold less."""
    where = f" on `{choice['task']}`" if "task" in choice else ""
    metric = f" by `{choice['metric']}`" if "metric" in choice else ""
    lines = [f"A sweep over the boundaries chose this one{where}{metric}."]
    names = ("value", "stderr", "delta_full", "ci_low", "ci_high", "p_value", "split", "documents")
    found = {name: choice[name] for name in names if choice.get(name) is not None}
    if found:
        head, rule = ("| " + " | ".join(row) + " |" for row in (found, ["---"] * len(found)))
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in found.values())
        lines.append("\n".join([head, rule, "| " + " | ".join(cells) + " |"]))
    if "signature" in choice:
        lines.append(f"`{choice['signature']}`")
    return "\n\n".join(lines)


def _adapter_use(facts: Mapping[str, Any]) -> str:
    base = facts["base_model"] or "BASE"
    rows = facts["grown_rows"]
    lines = [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({_python(base, facts['loading'])})",
        *([f"base.resize_token_embeddings({rows})  # its new tokens"] if rows else []),
        f'model = PeftModel.from_pretrained(base, "{PLACEHOLDER}")',
    ]
    # lm-eval's hf would fit the vocabulary to the tokenizer
    model = "lora_boundary" if rows else "hf"
    arguments = {"pretrained": base, **facts["loading"], "peft": PLACEHOLDER}
    listed = ",".join(f"{name}={value}" for name, value in arguments.items())
    evaluate = f"lm_eval --model {model} --model_args {listed} --tasks …"
    if facts["vllm_problems"]:
        serve = "vLLM does not load it: " + " ".join(facts["vllm_problems"])
    else:
        command = (
            f"vllm serve {base} --enable-lora --max-lora-rank {facts['vllm_max_lora_rank']} "
            f"--lora-modules cut={PLACEHOLDER}"
        )
        serve = "\n\n".join(["With vLLM:", _code("bash", command), *facts["vllm_conditions"]])
    return "\n\n".join(
        [
            "With PEFT:",
            _code("python", *lines),
            "With lm-evaluation-harness:",
            _code("bash", evaluate),
            serve,
        ]
    )


def _merged_use() -> str:
    return "\n\n".join(
        [
            "It is an ordinary checkpoint; no adapter is needed any more.",
            _code(
                "python",
                "from transformers import AutoModelForCausalLM",
                "",
                f'model = AutoModelForCausalLM.from_pretrained("{PLACEHOLDER}")',
            ),
            _code(
                "bash",
                f"lm_eval --model hf --model_args pretrained={PLACEHOLDER} --tasks …",
                f"vllm serve {PLACEHOLDER}",
            ),
        ]
    )


def _python(name: str, arguments: Mapping[str, Any]) -> str:
    """Return arguments of a call in Python."""
    parts = [json.dumps(name), *(f"{key}={value!r}" for key, value in arguments.items())]
    return ", ".join(parts)


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
