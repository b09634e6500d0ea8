"""The cost of passes in a shared forward by number of rows, compared with the base model alone.

Measures decoding steps of rows under different boundaries, and reading prompts under all
boundaries, on the 135M model with a random adapter of rank 8 on all linear layers. Run it on an
idle machine:

    python benchmarks/steps.py --past 250
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import conditions, small_model
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.forward.fork import grouped_attention
from lm_eval_lora_boundary.forward.kv_cache import growing_cache, reserve
from lm_eval_lora_boundary.forward.prefill import Branches
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel


def cpu(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time in seconds, after one run to warm up."""
    times = []
    for _ in range(repeats + 1):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return statistics.median(times[1:])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--past", type=int, default=250, help="tokens before a step")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 31, 62, 124, 248])
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    load = small_model()
    path, file = load["pretrained"], {"gguf_file": load["gguf_file"]}
    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **file)
    base.eval()
    config, layers = base.config, base.config.num_hidden_layers
    heads = config.num_key_value_heads
    size = config.hidden_size // config.num_attention_heads
    plain = SplitModel(base)
    prompts = torch.randint(5, 1000, (4, options.prompt))
    ones = torch.ones_like(prompts)

    def step(model: SplitModel, rows: int, routed: ForkedModel | None) -> float:
        cache = growing_cache(config)
        reserve(cache, options.past + options.repeats + 1)
        for layer in cache.layers:
            layer.update(*(torch.randn(rows, heads, options.past, size) for _ in range(2)))
        mask = torch.ones(rows, options.past, dtype=torch.long)
        mask[::2, :5] = 0  # prompts differ in length
        boundaries = sorted((i % (layers + 1) - 1 for i in range(rows)), reverse=True)

        def once() -> None:
            nonlocal mask
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
            ids = torch.zeros(rows, 1, dtype=torch.long)
            if routed is None:
                states = model.hidden(ids, mask, cache)
            else:
                with routed.routing(boundaries):
                    states = model.hidden(ids, mask, cache)
            model.greedy(states.flatten(0, 1))

        return cpu(once, options.repeats)

    with grouped_attention(torch.device("cpu")):
        alone = {rows: step(plain, rows, None) for rows in options.rows}
        reading = cpu(lambda: plain.hidden(prompts, ones, growing_cache(config)), options.repeats)
        lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
        cut = LoraCut(get_peft_model(base, lora).eval())
        model = SplitModel(cut.model.get_base_model())
        forked = ForkedModel(base.get_submodule(cut.stack.path), range(-1, layers))
        for rows in options.rows:
            seconds = step(model, rows, forked)
            print(
                f"{rows} rows: {seconds / rows * 1000:.1f} ms of CPU time per row, base model "
                f"alone {alone[rows] / rows * 1000:.1f} ms",
                flush=True,
            )
        places = torch.tensor([[row, options.prompt - 1] for row in range(len(prompts))])

        def read() -> None:
            before = torch.zeros(len(prompts), 0, dtype=torch.long)
            Branches(model, forked, before).read(prompts, ones, places)

        passes = (layers + 1) * (layers + 2) // 2 - 1
        under_all = cpu(read, options.repeats) / (prompts.numel() * passes)
    print(f"reading {len(prompts)} prompts of {options.prompt} tokens: {under_all * 1e6:.0f} µs of "
          f"CPU per token and layer pass under all boundaries, base model alone "
          f"{reading / (prompts.numel() * layers) * 1e6:.0f} µs")  # fmt: skip
    print(f"medians of {options.repeats}; {conditions()}")


if __name__ == "__main__":
    main()
