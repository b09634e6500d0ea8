"""Log-likelihoods with logits at scored positions only, compared with lm-eval's ``hf``.

Run it in a folder where ``load_dataset("openai/gsm8k", "main")`` works, on an idle machine:

    python benchmarks/loglikelihood.py --documents 32
"""

from __future__ import annotations

import argparse

import datasets
from common import compare, small_model
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.upstream.lm_eval import request


def requests(documents: int) -> list[Instance]:
    """Return GSM8K questions as multiple choice: the right number, and those of three others."""
    rows = datasets.load_dataset("openai/gsm8k", "main", split="test").select(range(documents))
    numbers = [row["answer"].rpartition("#### ")[2] for row in rows]
    arguments = [
        (f"Question: {row['question']}\nAnswer:", f" {numbers[(i + shift) % documents]}")
        for i, row in enumerate(rows)
        for shift in range(4)
    ]
    return [request("loglikelihood", pair, i) for i, pair in enumerate(arguments)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    settings = small_model() | {"device": "cpu", "dtype": "float32"}
    theirs = HFLM(batch_size=options.batch_size, **settings)
    ours = LoraBoundaryLM(theirs.model, tokenizer=theirs.tokenizer, batch_size=options.batch_size)
    work = requests(options.documents)
    expected = theirs.loglikelihood(work, disable_tqdm=True)
    answers = ours.loglikelihood(work, disable_tqdm=True)
    gap = max(abs(a - b) for (a, _), (b, _) in zip(answers, expected, strict=True))
    same = sum(a == b for (_, a), (_, b) in zip(answers, expected, strict=True))
    print(f"{len(work)} requests, fp32, batch size {options.batch_size}")
    print(
        f"largest difference between log-likelihoods {gap:.1e}; is_greedy is the same for {same} "
        f"of {len(work)}"
    )
    compare(
        {
            "hf": lambda: theirs.loglikelihood(work, disable_tqdm=True),
            "lora_boundary": lambda: ours.loglikelihood(work, disable_tqdm=True),
        },
        options.repeats,
    )


if __name__ == "__main__":
    main()
