"""The cost of passes in a shared forward by number of rows, compared with the base model alone.

Measures decoding steps and reading prompts under all boundaries, on the 135M model with a random
adapter of rank 8 on all linear layers. Run it on an idle machine:

    python benchmarks/steps.py --past 250
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from common import conditions, small_model
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.attention import attention_kernels
from lm_eval_lora_boundary.forward.kv_cache import growing_cache, reserve
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts


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
    parser.add_argument("--documents", type=int, nargs="+", default=[1, 4, 16])
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

    def plain_step(rows: int) -> float:
        """Time a step of the base model alone."""
        cache = growing_cache(config)
        reserve(cache, options.past + options.repeats + 1)
        for layer in cache.layers:
            layer.update(*(torch.randn(rows, heads, options.past, size) for _ in range(2)))
        mask = torch.ones(rows, options.past, dtype=torch.long)
        mask[::2, :5] = 0  # prompts differ in length

        def once() -> None:
            nonlocal mask
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
            ids = torch.zeros(rows, 1, dtype=torch.long)
            plain_model.greedy(plain_model.hidden(ids, mask, cache).flatten(0, 1))

        return cpu(once, options.repeats)

    def forked_step(documents: int, apart: bool) -> float:
        """Time a step under all cuts, which have written the same text, or each its own."""
        mask = torch.ones(documents, options.past, dtype=torch.long)
        mask[::2, :5] = 0
        texts = Texts(model, forked, mask)
        length = options.past + options.repeats + 2
        for number, layer in enumerate(texts.cache.layers):
            rows = len(texts.rows.layers[number].first)
            layer.reserved = length
            layer.update(*(torch.randn(rows, heads, options.past, size) for _ in range(2)))
        if apart:
            pairs = np.arange(len(texts.rows.cuts))
            texts.go_on(texts.rows.cuts, pairs, pairs)

        def once() -> None:
            model.greedy(texts.write([0] * len(texts.mask)))

        with forked.forking():
            return cpu(once, options.repeats)

    counts = [documents * (layers + 1) for documents in options.documents]
    with attention_kernels(torch.device("cpu")):
        plain_model = plain
        alone = {rows: plain_step(rows) for rows in counts}
        reading = cpu(lambda: plain.hidden(prompts, ones, growing_cache(config)), options.repeats)
        lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
        cut = LoraCut(get_peft_model(base, lora).eval())
        model = SplitModel(cut.model.get_base_model())
        cuts = [Cut.up_to(boundary, layers).strengths for boundary in range(layers - 1, -2, -1)]
        forked = ForkedModel(base.get_submodule(cut.stack.path), cuts)
        share = forked.beginnings.passes / (layers * len(cuts))
        for documents, rows in zip(options.documents, counts, strict=True):
            own, shared = forked_step(documents, True), forked_step(documents, False)
            print(
                f"{documents} documents × {len(cuts)} cuts: {own / rows * 1000:.2f} ms of CPU "
                f"time per row if every cut has written another text, base model alone "
                f"{alone[rows] / rows * 1000:.2f} ms; {shared / rows * 1000:.2f} ms if all have "
                f"written the same, in {share:.2f} of the layer passes",
                flush=True,
            )
        places = torch.tensor([[row, options.prompt - 1] for row in range(len(prompts))])

        def read() -> None:
            before = torch.zeros(len(prompts), 0, dtype=torch.long)
            with forked.forking():
                Texts(model, forked, before).read(prompts, ones, places)

        under_all = cpu(read, options.repeats) / (prompts.numel() * forked.beginnings.passes)
    print(f"reading {len(prompts)} prompts of {options.prompt} tokens: {under_all * 1e6:.0f} µs of "
          f"CPU per token and layer pass under all cuts, base model alone "
          f"{reading / (prompts.numel() * layers) * 1e6:.0f} µs")  # fmt: skip
    print(f"medians of {options.repeats}; {conditions()}")


if __name__ == "__main__":
    main()
