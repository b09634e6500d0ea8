"""LoRA boundary layers for lm-evaluation-harness: test, choose and ship them.

A LoRA-tuned model often answers better when the LoRA modules of its upper decoder layers are
dropped at inference (Chen et al., arXiv 2503.23360). The last layer whose LoRA is kept is the
*boundary*.

Importing this package is cheap: public names are imported on first use. A ``.pth`` line of the
wheel imports the package at interpreter start (see :mod:`.discovery`).
"""

from __future__ import annotations

from . import discovery

# typing.TYPE_CHECKING would import typing at every interpreter start
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cuts.apply import apply_boundary
    from .exports.api import export
    from .harness.model import LoraBoundaryLM
    from .sweeps.api import sweep
    from .traces.api import trace

__all__ = ["LoraBoundaryLM", "apply_boundary", "export", "sweep", "trace"]

_MODULES = {
    "LoraBoundaryLM": "harness.model",
    "apply_boundary": "cuts.apply",
    "export": "exports.api",
    "sweep": "sweeps.api",
    "trace": "traces.api",
}

discovery.activate()


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("lm-eval-lora-boundary")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*globals(), *__all__, "__version__"]
