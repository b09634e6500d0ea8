"""How vLLM is started for cut adapters: what both the model and the sweep give it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    from .cut_folders import AdapterSlices


def require_vllm() -> None:
    """Refuse to go on without vLLM.

    Raises:
        ModelError: It is not installed.
    """
    if find_spec("vllm") is None:
        raise ModelError("vLLM is not installed; `pip install vllm`, or use another engine")


def vllm_version() -> str:
    """Return the version of vLLM, whatever the distribution that brings it is called."""
    names = sorted(set(packages_distributions()["vllm"]))
    return " ".join(f"{name}={version(name)}" for name in names)


def lora_arguments(slices: AdapterSlices, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's arguments for the cuts of an adapter, as far as the user gave none.

    Args:
        slices: The cuts.
        given: The user's arguments.
    """
    arguments: dict[str, Any] = {
        "max_lora_rank": slices.rank(),
        # Without it, vLLM wraps the output head, too; on CPU that fails for log-likelihoods, since
        # it expects one row of logits per request (vllm/lora/layers/logits_processor.py)
        "lora_target_modules": slices.targets(),
    }
    return {name: value for name, value in arguments.items() if name not in given}
