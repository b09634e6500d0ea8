"""A trace of every layer, compared with a plain forward pass plus one head product per layer.

Both sides run the same batches of GSM8K questions with their worked answers. The floor runs the
decoder once, and the head once per layer on one hidden state per answer token.

Run it in a folder where ``load_dataset("openai/gsm8k", "main")`` works, on an idle machine:

    python benchmarks/trace.py --documents 32
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import datasets
import torch
from common import compare, small_model

import lm_eval_lora_boundary
from lm_eval_lora_boundary.forward.loglikelihood import Batch
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.reader import Reader

ADAPTER = Path(lm_eval_lora_boundary.__file__).parent / "demo_adapter"


def gold(lm: TraceLM, documents: int) -> list[Gold]:
    """Return questions and answers, longest first, as a trace orders them."""
    rows = datasets.load_dataset("openai/gsm8k", "main", split="test").select(range(documents))
    pairs = [lm.pair(f"Question: {row['question']}\nAnswer:", f" {row['answer']}") for row in rows]
    pairs.sort(key=lambda pair: -len(pair[0]) - len(pair[1]))
    return [Gold(i, "", context, answer) for i, (context, answer) in enumerate(pairs)]


def floor(lm: TraceLM, documents: list[Gold], rows: int) -> None:
    """Run decoder and head no more often than any trace must."""
    decoder: Any = lm.model.get_decoder()
    head = lm.model.get_output_embeddings()
    with torch.no_grad():
        for start in range(0, len(documents), rows):
            pairs = [(row.context, row.answer) for row in documents[start : start + rows]]
            batch = Batch(pairs, lm.max_length, lm.device)
            states = decoder(input_ids=batch.inputs, use_cache=False).last_hidden_state
            states = states[batch.rows, batch.positions]
            for _ in range(lm.layers):
                head(states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peft", type=Path, default=ADAPTER)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    lm = TraceLM(**small_model(), peft=str(options.peft), dtype=options.dtype, device="cpu")
    documents = gold(lm, options.documents)
    reader = Reader(lm)
    tokens = sum(len(document.context) + len(document.answer) for document in documents)
    answers = sum(len(document.answer) for document in documents)
    print(
        f"{len(documents)} documents, {tokens} tokens, {answers} of them in answers; {lm.layers} "
        f"layers, {options.dtype}, batch size {options.batch_size}"
    )
    compare(
        {
            "trace": lambda: reader.read(documents, options.batch_size),
            "forward + head products": lambda: floor(lm, documents, options.batch_size),
        },
        options.repeats,
    )


if __name__ == "__main__":
    main()
