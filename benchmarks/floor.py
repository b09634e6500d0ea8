"""The least CPU time that a sweep can take: its layer passes by the base model alone.

``benchmarks/sweep.py`` runs this in a process of its own. With boundaries ``-1..N-1``, a prompt
token goes through ``(N + 1)(N + 2) / 2 - 1`` layers: N layers for boundary N-1, and for each other
boundary the layers above it. A generated token goes through N layers at each boundary. The common
prefix of all prompts is read once, and so is a context that several requests share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_lora_boundary.forward.kv_cache import growing_cache, reserve
from lm_eval_lora_boundary.forward.split_model import SplitModel

_PROMPT_TOKENS = 4096  # tokens in a pass over prompts
_REPEATS = 5


def texts(folder: Path, task: str) -> tuple[dict[str, set[str]], list[str]]:
    """Return the contexts of a sweep with their continuations, and all responses."""
    contexts: dict[str, set[str]] = {}
    written: list[str] = []
    for number, file in enumerate(sorted(folder.glob(f"boundary=*/samples_{task}_*.jsonl"))):
        seen = set()
        for row in map(json.loads, file.read_text("utf-8").splitlines()):
            if row["doc_id"] in seen:  # the same response under another filter
                continue
            seen.add(row["doc_id"])
            for arguments, answers in zip(row["arguments"].values(), row["resps"], strict=True):
                generated = isinstance(answers[0], str)
                written += answers if generated else []
                if number == 0:
                    rest = set() if generated else {arguments["arg_1"]}
                    contexts.setdefault(arguments["arg_0"], set()).update(rest)
    return contexts, written


def tokens(tokenizer: Any, folder: Path, task: str) -> tuple[int, int, float]:
    """Return the number of tokens read, the number written, and the mean prompt length."""
    contexts, written = texts(folder, task)
    ids = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in contexts}
    first, last = min(ids.values()), max(ids.values())
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    read = shared + sum(len(prompt) - shared for prompt in ids.values())
    rest = [text for continuations in contexts.values() for text in continuations]
    read += sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in rest)
    # The prompt's pass gives the first token. The last pass gives the token that ends the response.
    wrote = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in written)
    return read, wrote, sum(map(len, ids.values())) / len(ids)


def cpu(work: Callable[[], object]) -> float:
    """Return the median CPU time in seconds, after one run to warm up."""

    def once() -> Iterator[float]:
        for _ in range(_REPEATS):
            before = time.process_time()
            work()
            yield time.process_time() - before

    work()
    return statistics.median(once())


@torch.inference_mode()
def main() -> None:
    """Print tokens read, tokens written, and the CPU seconds of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=json.loads, help="JSON object that benchmarks/sweep.py makes")
    options = parser.parse_args().job
    load = {"gguf_file": options["model"]["gguf_file"]}
    path = options["model"]["pretrained"]
    tokenizer = AutoTokenizer.from_pretrained(path, **load)
    base = AutoModelForCausalLM.from_pretrained(path, **load)
    base = base.to(getattr(torch, options["dtype"])).eval()
    model = SplitModel(base)
    read, wrote, length = tokens(tokenizer, Path(options["folder"]), options["task"])
    layers, rows, seq = base.config.num_hidden_layers, options["rows"], max(1, round(length))
    generator = torch.Generator().manual_seed(1)

    def ids(batch: int, width: int) -> torch.Tensor:
        return torch.randint(0, base.config.vocab_size, (batch, width), generator=generator)

    batch = max(1, _PROMPT_TOKENS // seq)
    prompt, mask = ids(batch, seq), torch.ones(batch, seq, dtype=torch.long)
    reading = cpu(lambda: model.hidden(prompt, mask, growing_cache(base.config)))
    reading /= batch * seq * layers  # per token and layer
    writing = 0.0
    if wrote:
        cache: Any = growing_cache(base.config)
        reserve(cache, seq + _REPEATS + 2)
        one = growing_cache(base.config)
        model.hidden(ids(1, seq), torch.ones(1, seq, dtype=torch.long), one)
        for layer, single in zip(cache.layers, one.layers, strict=True):
            shape = (rows, -1, -1, -1)
            layer.update(single.keys.expand(shape), single.values.expand(shape))
        ones = torch.ones(rows, seq + _REPEATS + 2, dtype=torch.long)

        def step() -> None:
            past = cache.get_seq_length()
            states = model.hidden(ids(rows, 1), ones[:, : past + 1], cache)
            model.greedy(states[:, -1])

        writing = cpu(step) / rows
    count = options["boundaries"]
    passes = count * (count + 1) // 2 - 1
    print("FLOOR", json.dumps([read, wrote, read * passes * reading, wrote * writing]))


if __name__ == "__main__":
    main()
