"""How to use what was exported: lines to paste."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import file_name

NO_CHECKPOINT = "vLLM needs the base model as a checkpoint in a folder or on the hub."


def vllm_loads_base(facts: Mapping[str, Any]) -> bool:
    """Return whether vLLM loads the base model by its name, with its revision and no more."""
    return not {"gguf_file", "subfolder"} & facts["loading"].keys()


def usage(facts: Mapping[str, Any]) -> list[str]:
    """Return commands and code that load an export, from the facts that :func:`.export` returns."""
    output = Path(facts["output"])
    if facts["merge"]:
        return [
            f"vllm serve {shlex.quote(str(output))}",
            f"model = AutoModelForCausalLM.from_pretrained({_quoted(output)})",
        ]
    base, loading = facts["pretrained"] or "BASE", facts["loading"]
    more = "".join(f", {name}={value!r}" for name, value in loading.items())
    lines = [
        f"base = AutoModelForCausalLM.from_pretrained({_quoted(base)}{more})",
        *([f"base.resize_token_embeddings({facts['grown_rows']})"] if facts["grown_rows"] else []),
        f"model = PeftModel.from_pretrained(base, {_quoted(output)})",
    ]
    if facts["vllm_problems"]:
        return lines
    if not vllm_loads_base(facts):
        return [f"{NO_CHECKPOINT} Or merge the adapter into one (--merge).", *lines]
    revision = (
        f" --revision {shlex.quote(str(loading['revision']))}" if "revision" in loading else ""
    )
    trust = " --trust-remote-code" if loading.get("trust_remote_code") else ""
    serve = (
        f"vllm serve {shlex.quote(base)}{revision}{trust} --enable-lora "
        f"--max-lora-rank {facts['vllm_max_lora_rank']} "
        f"--lora-modules {shlex.quote(f'{file_name(output.name)}={output}')}"
    )
    return [serve, *lines]


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)
