"""What was evaluated, for the log and the results JSON."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.cut import LoraCut
from ..cuts.keep import Cut
from ..cuts.modules import count_parameters


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the libraries that decide numbers, and of ``more`` libraries."""
    names = ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "torch", *more)
    return {name: version(name) for name in names}


def describe(
    model: LoraCut, cut: Cut | int, adapter: AdapterFolder, *, merge: bool
) -> dict[str, Any]:
    """Return the facts about a cut model, as the results JSON has them."""
    cut = model.cut(cut)
    kept, dropped = model.kept(cut), model.dropped(cut)
    return {
        "boundary": cut.boundary,
        "cut": cut.notation,
        "num_layers": model.stack.count,
        "kept_modules": len({module.module for module in kept}),
        "dropped_modules": len({module.module for module in dropped}),
        "kept_parameters": count_parameters(kept),
        # what kept and dropped modules share is kept
        "dropped_parameters": count_parameters(model.modules) - count_parameters(kept),
        "adapter_sha256": adapter.sha256,
        "merge": merge,
        "versions": versions(),
    }


def signature(facts: dict[str, Any], dtype: object) -> str:
    """Return the facts as one line."""
    libraries = " ".join(f"{name}={number}" for name, number in facts["versions"].items())
    return (
        f"{_name(facts)} of {facts['num_layers']} layers | kept "
        f"{facts['kept_modules']} modules {facts['kept_parameters']:,} parameters | dropped "
        f"{facts['dropped_modules']} modules {facts['dropped_parameters']:,} parameters | "
        f"adapter {facts['adapter_sha256'][:12]} | {dtype} | "
        f"merge={facts['merge']} | {libraries}"
    )


def _name(facts: dict[str, Any]) -> str:
    boundary = facts["boundary"]
    return f"keep {facts['cut']}" if boundary is None else f"boundary {boundary}"


def hub_commit(repository: str, revision: str | None) -> str:
    """Return the commit of a repository on the hub, or "" for a folder or without a network."""
    try:
        return HfApi().model_info(repo_id=repository, revision=revision).sha or ""
    except (HfHubHTTPError, HFValidationError, OSError):
        return ""
