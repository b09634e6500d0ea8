"""What was evaluated, for the log and the results JSON."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.cut import LoraCut


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the libraries that decide numbers, and of ``more`` libraries."""
    names = ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "torch", *more)
    return {name: version(name) for name in names}


def describe(cut: LoraCut, boundary: int, adapter: AdapterFolder, *, merge: bool) -> dict[str, Any]:
    """Return the facts about a model cut at a boundary, as the results JSON has them."""
    kept, dropped = cut.kept(boundary), cut.dropped(boundary)
    return {
        "boundary": boundary,
        "num_layers": cut.stack.count,
        "kept_modules": len({module.module for module in kept}),
        "dropped_modules": len({module.module for module in dropped}),
        "kept_parameters": sum(module.parameters for module in kept),
        "dropped_parameters": sum(module.parameters for module in dropped),
        "adapter_sha256": adapter.sha256,
        "merge": merge,
        "versions": versions(),
    }


def signature(facts: dict[str, Any], dtype: object) -> str:
    """Return the facts as one line."""
    libraries = " ".join(f"{name}={number}" for name, number in facts["versions"].items())
    return (
        f"boundary {facts['boundary']} of {facts['num_layers']} layers | kept "
        f"{facts['kept_modules']} modules {facts['kept_parameters']:,} parameters | dropped "
        f"{facts['dropped_modules']} modules {facts['dropped_parameters']:,} parameters | "
        f"adapter {facts['adapter_sha256'][:12]} | {dtype} | "
        f"merge={facts['merge']} | {libraries}"
    )


def hub_commit(repository: str, revision: str | None) -> str:
    """Return the commit of a repository on the hub, or "" for a folder or without a network."""
    try:
        return HfApi().model_info(repo_id=repository, revision=revision).sha or ""
    except (HfHubHTTPError, HFValidationError, OSError):
        return ""
