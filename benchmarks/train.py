"""Training steps of `lora-boundary train`, compared with those of TRL's own trainer.

Both sides train the same LoRA on the same rows in the same order, with the same loss. TRL's trainer
pads what chance puts together, and on a CPU computes logits at all positions. The time to load the
model is X
    python benchmarks/train.py --documents 32 --dtype bfloat16
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import torch
from common import compare, small_model
from transformers import PrinterCallback, ProgressCallback
from trl import SFTTrainer

from lm_eval_lora_boundary.harness.prompts import Prompts
from lm_eval_lora_boundary.train.data import build_rows, load_task
from lm_eval_lora_boundary.train.loop import make_trainer
from lm_eval_lora_boundary.train.model import add_lora, load_base
from lm_eval_lora_boundary.train.settings import TrainSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="lora_boundary_samsum")
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=TrainSettings.dropout)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    small = small_model()
    settings = TrainSettings(
        pretrained=small.pop("pretrained"),
        model_args=small,
        task=options.task,
        apply_chat_template=True,
        limit=options.documents,
        micro_batch_size=options.micro_batch_size,
        dropout=options.dropout,
        epochs=1,
        dtype=options.dtype,
        device="cpu",
        save_steps=10**6,
    )
    base = load_base(settings)
    task = load_task(options.task)
    prompts = Prompts(task, base, apply_chat_template=True)
    rows = build_rows(prompts, task.training_docs(), settings.max_length, settings.limit)
    model = add_lora(base.model, settings)
    with tempfile.TemporaryDirectory() as folder:
        ours = make_trainer(model, base, rows, settings, Path(folder))
        arguments = copy.copy(ours.args)
        arguments.save_strategy = "no"
        ours.args.save_strategy = "no"
        arguments.per_device_train_batch_size = settings.micro
        arguments.gradient_accumulation_steps = settings.batch_size // settings.micro
        plain = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=rows.dataset(),
            processing_class=base.tokenizer,
        )
        plain.remove_callback(ProgressCallback)
        plain.remove_callback(PrinterCallback)
        summary = rows.summary()
        print(
            f"{len(rows.rows)} rows, {summary['tokens']} tokens, {summary['answer_tokens']} in "
            f"answers; batch size {settings.batch_size}, up to {settings.micro} rows in a pass, "
            f"dropout {settings.dropout}, {options.dtype}, {torch.get_num_threads()} threads",
            flush=True,
        )
        sides = {"TRL": plain.train, "lora-boundary train": ours.train}
        compare(sides, options.repeats)


if __name__ == "__main__":
    main()
