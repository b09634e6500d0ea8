"""The cost model of docs/scaling.md, compared with measurements on the 135M model.

Layer passes: reading prompts under all boundaries in one shared forward, compared with reading them
under one boundary after another (a few evenly spread ones are run, and the result is scaled up).
Memory: keys and values after the pass, per token of a row, and the adapter's parameters per layer.

    python benchmarks/passes.py --peft ADAPTER
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import conditions, small_model

from lm_eval_lora_boundary.forward.kv_cache import growing_cache
from lm_eval_lora_boundary.forward.memory import row_bytes
from lm_eval_lora_boundary.forward.prefill import Branches
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU and wall time in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peft", required=True)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sample", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    lm = SweepLM(peft=options.peft, dtype="float32", device="cpu", **small_model())
    layers = lm.layers
    model = SplitModel(lm.cut.model.get_base_model())
    boundaries = list(range(-1, layers))
    forked = ForkedModel(lm.cut.model.get_base_model().get_submodule(lm.cut.stack.path), boundaries)
    shape = (options.documents, options.tokens)
    ids = torch.randint(0, lm.model.config.vocab_size, shape)
    ones = torch.ones(shape, dtype=torch.long)
    places = torch.tensor([[i, options.tokens - 1] for i in range(options.documents)])
    last: list[Any] = []

    def fork() -> None:
        branches = Branches(model, forked, ones[:, :0])
        branches.read(ids, ones, places)
        last[:] = [branches]

    def toggle() -> None:
        for boundary in chosen:
            lm.cut.move(boundary)
            model.hidden(ids, ones, growing_cache(lm.model.config))
        lm.cut.move(layers - 1)

    chosen = [round(i * layers / (options.sample - 1)) - 1 for i in range(options.sample)]
    fork()
    toggle()
    cpu, wall = [], []
    for _ in range(options.repeats):
        one, other = timed(toggle), timed(fork)
        scale = len(boundaries) / len(chosen)
        cpu.append(scale * one[0] / other[0])
        wall.append(scale * one[1] / other[1])
    passes = (layers + 1) * (layers + 2) // 2 - 1
    print(
        f"reading under {len(boundaries)} boundaries, one after another / shared forward: CPU "
        f"{statistics.median(cpu):.2f}x, wall {statistics.median(wall):.2f}x; predicted by layer "
        f"passes {layers * (layers + 1) / passes:.2f}x"
    )
    cache, _ = last[0].rows(
        [(b, d) for b in range(len(boundaries)) for d in range(options.documents)]
    )
    used = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    rows = len(boundaries) * options.documents * options.tokens
    print(
        f"keys and values: {used / rows:,.0f} bytes per token of a row; predicted "
        f"{row_bytes(lm.model.config, lm.model.dtype, 1):,}"
    )
    parameters = sum(module.parameters for module in lm.cut.modules)
    print(f"adapter: {parameters / layers:,.0f} parameters per layer, {parameters:,} in all")
    print(f"{options}; {conditions()}")


if __name__ == "__main__":
    main()
