"""The least CPU time that a sweep can take: its layer passes by the base model alone.

``benchmarks/sweep.py`` and ``benchmarks/before.py`` run this in a process of its own, on a finished
sweep. A layer must run once for every distinct computation: a text, under all cuts that do not
differ up to this layer. While reading, the texts are the prompts; the common prefix of all prompts
is read once, and so is a context that several requests share. While writing, they are the responses
so far: cuts that have written the same share them. Every distinct pair of a cut and a text needs
the output head once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.forward.kv_cache import growing_cache, reserve
from lm_eval_lora_boundary.forward.rows import Beginnings, Strengths
from lm_eval_lora_boundary.forward.split_model import SplitModel

_PROMPT_TOKENS = 4096  # tokens in a pass over prompts
_REPEATS = 5


@dataclass
class Texts:
    """The texts of a sweep.

    Attributes:
        contexts: The prompts and contexts, with the continuations of each.
        responses: By document, the response under each cut.
    """

    contexts: dict[str, set[str]]
    responses: dict[int, list[tuple[Strengths, str]]]


def texts(folder: Path, task: str, layers: int) -> Texts:
    """Read the texts of a sweep from lm-eval's samples files."""
    found = Texts({}, {})
    files = [*folder.glob(f"boundary=*/samples_{task}_*.jsonl")]
    files += folder.glob(f"cut=*/samples_{task}_*.jsonl")
    for number, file in enumerate(sorted(files)):
        kind, _, name = file.parent.name.partition("=")
        cut = as_cut(int(name) if kind == "boundary" else name, layers).strengths
        seen = set()
        for row in map(json.loads, file.read_text("utf-8").splitlines()):
            if row["doc_id"] in seen:  # the same response under another filter
                continue
            seen.add(row["doc_id"])
            for arguments, answers in zip(row["arguments"].values(), row["resps"], strict=True):
                generated = isinstance(answers[0], str)
                if generated:
                    found.responses.setdefault(row["doc_id"], []).append((cut, answers[0]))
                if number == 0:
                    rest = set() if generated else {arguments["arg_1"]}
                    found.contexts.setdefault(arguments["arg_0"], set()).update(rest)
    return found


def reading(tokenizer: Any, contexts: dict[str, set[str]]) -> tuple[int, float]:
    """Return the number of tokens read, and the mean length of a prompt."""
    ids = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in contexts}
    first, last = min(ids.values()), max(ids.values())
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    read = shared + sum(len(prompt) - shared for prompt in ids.values())
    rest = [text for continuations in contexts.values() for text in continuations]
    read += sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in rest)
    return read, sum(map(len, ids.values())) / len(ids)


def writing(tokenizer: Any, responses: dict[int, list[tuple[Strengths, str]]]) -> list[int]:
    """Return how many tokens are written, in how many layer passes, and uses of the head.

    The prompt's pass gives the first token. The last pass gives the token that ends the response.
    """
    written = passes = heads = 0
    for answers in responses.values():
        tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for _, text in answers]
        written += sum(map(len, tokens))
        cuts = list(dict.fromkeys(cut for cut, _ in answers))
        numbers = Beginnings(cuts, [True] * len(cuts[0])).numbers  # (layers, cuts)
        for length in range(1, max(map(len, tokens)) + 1):
            live = [i for i, ids in enumerate(tokens) if len(ids) >= length]
            heads += len(live)
            so_far = [tuple(tokens[i][:length]) for i in live]
            for layer in numbers:
                places = [layer[cuts.index(answers[i][0])] for i in live]
                passes += len(set(zip(places, so_far, strict=True)))
    return [written, passes, heads]


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
    layers, rows = base.config.num_hidden_layers, options["rows"]
    found = texts(Path(options["folder"]), options["task"], layers)
    read, length = reading(tokenizer, found.contexts)
    written, passes, heads = writing(tokenizer, found.responses)
    cuts = list({cut: None for answers in found.responses.values() for cut, _ in answers})
    if not cuts:
        names = [folder.name.partition("=")[2] for folder in Path(options["folder"]).glob("*=*")]
        cuts = [as_cut(int(n) if n.lstrip("-").isdigit() else n, layers).strengths for n in names]
    seq = max(1, round(length))
    generator = torch.Generator().manual_seed(1)

    def ids(batch: int, width: int) -> torch.Tensor:
        return torch.randint(0, base.config.vocab_size, (batch, width), generator=generator)

    batch = max(1, _PROMPT_TOKENS // seq)
    prompt, mask = ids(batch, seq), torch.ones(batch, seq, dtype=torch.long)
    per_read = cpu(lambda: model.hidden(prompt, mask, growing_cache(base.config)))
    per_read /= batch * seq * layers  # per token and layer
    per_pass = per_head = 0.0
    if written:
        cache: Any = growing_cache(base.config)
        reserve(cache, seq + _REPEATS + 2)
        one = growing_cache(base.config)
        model.hidden(ids(1, seq), torch.ones(1, seq, dtype=torch.long), one)
        for layer, single in zip(cache.layers, one.layers, strict=True):
            shape = (rows, -1, -1, -1)
            layer.update(single.keys.expand(shape), single.values.expand(shape))
        ones = torch.ones(rows, seq + _REPEATS + 2, dtype=torch.long)
        states: list[torch.Tensor] = []

        def step() -> None:
            past = cache.get_seq_length()
            states[:] = [model.hidden(ids(rows, 1), ones[:, : past + 1], cache, padded=False)]

        per_pass = cpu(step) / rows / layers
        per_head = cpu(lambda: model.greedy(states[0][:, -1])) / rows
    found_passes = Beginnings(cuts, [True] * layers).passes
    result = {
        "read": read,
        "reading": read * found_passes * per_read,
        "written": written,
        "share": passes / max(1, written * layers),
        "writing": passes * per_pass + heads * per_head,
    }
    print("FLOOR", json.dumps(result))


if __name__ == "__main__":
    main()
