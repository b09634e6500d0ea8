"""Families of cuts: layer passes, CPU time and memory of a shared forward, against separate runs.

Reads prompts under all cuts of a family in one shared forward, and under a few of them one after
another (the result is scaled up), on the 135M model. Layer passes predict the ratio (see
docs/scaling.md). Keys and values are counted too. Run it on an idle machine:

    python benchmarks/passes.py --peft ADAPTER
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from common import conditions, small_model

from lm_eval_lora_boundary.cuts.families import Adapted, make_family
from lm_eval_lora_boundary.cuts.importance import update_norms
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.kv_cache import growing_cache
from lm_eval_lora_boundary.forward.memory import row_bytes
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM

TOGETHER = "upper,lower,random,each,only"
FAMILIES = ("upper", "lower", "random", "norm", "each", "only", "scale", TOGETHER)


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
    parser.add_argument("--sample", type=int, default=3, help="cuts to run one by one")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    lm = SweepLM(peft=options.peft, dtype="float32", device="cpu", **small_model())
    layers = lm.layers
    model = SplitModel(lm.cut.model.get_base_model())
    decoder = lm.cut.model.get_base_model().get_submodule(lm.cut.stack.path)
    shape = (options.documents, options.tokens)
    ids = torch.randint(0, lm.model.config.vocab_size, shape)
    ones = torch.ones(shape, dtype=torch.long)
    places = torch.tensor([[i, options.tokens - 1] for i in range(options.documents)])
    adapted = Adapted(layers, range(layers), {"norm": lambda: update_norms(lm.cut)})

    def measure(name: str, cuts: Sequence[Cut]) -> None:
        forked = ForkedModel(decoder, [cut.strengths for cut in cuts])
        texts: list[Texts] = []

        def fork() -> None:
            texts[:] = [Texts(model, forked, ones[:, :0])]
            with forked.forking():
                texts[0].read(ids, ones, places)

        def toggle() -> None:
            for cut in chosen:
                lm.cut.move(cut)
                model.hidden(ids, ones, growing_cache(lm.model.config))
            lm.cut.move(layers - 1)

        some = {round(i * (len(cuts) - 1) / (options.sample - 1)) for i in range(options.sample)}
        chosen = [cuts[i] for i in sorted(some)]
        scale = len(cuts) / len(chosen)
        cpu, wall = [], []
        for _ in range(options.repeats):
            one, other = timed(toggle), timed(fork)
            cpu.append(other[0] / (scale * one[0]))
            wall.append(other[1] / (scale * one[1]))
        passes, separate = forked.beginnings.passes, layers * len(cuts)
        used = sum(layer.keys.nbytes + layer.values.nbytes for layer in texts[0].cache.layers)
        alone = row_bytes(lm.model.config, lm.model.dtype, 1) * ids.numel() * len(cuts)
        print(
            f"{name:30} {len(cuts):3} cuts  {passes:4} of {separate:4} layer passes "
            f"({passes / separate:.2f})  CPU {statistics.median(cpu):.2f}  "
            f"wall {statistics.median(wall):.2f}  keys and values {used / alone:.2f}",
            flush=True,
        )

    print("share of separate runs")
    for names in FAMILIES:
        cuts = [cut for name in names.split(",") for cut in make_family(name, adapted).cuts]
        measure(names, list(dict.fromkeys(cuts)))
    parameters = sum(module.parameters for module in lm.cut.modules)
    print(f"adapter: {parameters / layers:,.0f} parameters per layer, {parameters:,} in all")
    print(f"{options}; {conditions()}")


if __name__ == "__main__":
    main()
