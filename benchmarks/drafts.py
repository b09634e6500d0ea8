"""Where drafts pay: the same batch with and without them, and what the engine makes of its costs.

Takes the prompts of a finished sweep, writes the responses under all boundaries without drafts,
with the whole adapter's responses, with the neighbours', and with both, compares them, and prints
CPU time and what the engine expected. Run it with nothing else running:

    python benchmarks/drafts.py SWEEP_DIR --peft ADAPTER --documents 4
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from common import conditions, small_model
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.forward.drafting import WORTH, Stopwatch, agreement, steps_per_token
from lm_eval_lora_boundary.forward.fork import grouped_attention
from lm_eval_lora_boundary.forward.generate import Drafts, Responses
from lm_eval_lora_boundary.forward.prefill import Branches
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.harness.endings import Ending


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--peft", required=True)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--boundaries", type=int, nargs="+", default=list(range(-1, 30)))
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    load = small_model()
    path, file = load["pretrained"], {"gguf_file": load["gguf_file"]}
    tokenizer = AutoTokenizer.from_pretrained(path, **file)
    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **file)
    cut = LoraCut(PeftModel.from_pretrained(base, options.peft).eval())
    model = SplitModel(cut.model.get_base_model())
    forked = ForkedModel(cut.model, cut.stack, options.boundaries)
    samples = next(iter(sorted(options.sweep.glob("boundary=*/samples_*.jsonl"))))
    rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    arguments = [row["arguments"]["gen_args_0"] for row in rows[: options.documents]]
    until = tuple(arguments[0]["arg_1"]["until"])
    most = options.max_new_tokens
    requests = [
        Generate(tuple(tokenizer.encode(each["arg_0"])), until, most, "{}", "", "")
        for each in arguments
    ]
    ends = frozenset({tokenizer.eos_token_id})
    ending = Ending(ends, until, most, tokenizer)
    variants = {
        "no drafts": Drafts(),
        "whole adapter": Drafts(whole=0.4),
        "neighbours": Drafts(neighbours=True),
        "both": Drafts(whole=0.4, neighbours=True),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    cpu = torch.device("cpu")

    @torch.no_grad()
    def answer(drafts: Drafts, watch: Stopwatch | None = None) -> list[list[list[int]]]:
        prefix = Branches(model, forked, torch.zeros((1, 0), dtype=torch.long))
        with grouped_attention(cpu):
            return Responses(model, forked, drafts, watch).answer(prefix, 0, requests, ending)

    watch = Stopwatch()
    plain = answer(Drafts(), watch)
    for _ in range(options.repeats):
        for name, drafts in variants.items():
            before = time.process_time()
            same = answer(drafts) == plain
            times[name].append(time.process_time() - before)
            if not same:
                raise SystemExit(f"{name}: other responses than without drafts")
    batch = [[row[i] for row in reversed(plain)] for i in range(len(requests))]
    agreeing, steps = agreement(batch), steps_per_token(batch)
    costs = watch.costs(len(requests))
    tokens = sum(len(response) for responses in batch for response in responses)
    print(
        f"{len(requests)} documents × {len(forked.boundaries)} boundaries, {tokens} tokens written"
    )
    print(f"agreement with the whole adapter {agreeing:.2f}, steps per token with neighbours' "
          f"responses {steps:.2f}; {costs}")  # fmt: skip
    if costs is not None:
        print(f"expected of writing: whole adapter {costs.with_whole(agreeing):.2f}, neighbours "
              f"{costs.with_neighbours(steps):.2f}; used below {WORTH}")  # fmt: skip
    without = statistics.median(times["no drafts"])
    for name, seconds in times.items():
        print(f"{name:16} CPU {statistics.median(seconds):7.1f} s, prompts included; "
              f"{statistics.median(seconds) / without:.2f} of no drafts")  # fmt: skip
    print(f"medians of {options.repeats} alternating runs; {conditions()}")


if __name__ == "__main__":
    main()
