"""Settings of a training run.

The defaults are those of the paper: rank 8 on all linear modules, 3 epochs, learning rate 1e-4,
2048 tokens, batch size 16. Where the paper gives none: alpha 16, dropout 0.05, AdamW without weight
decay, linear learning-rate decay without warmup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import LoraBoundaryError, ModelError
from ..harness.key_values import CUT_ARGUMENTS

ALL_LINEAR = "all-linear"
_DTYPES = ("auto", "float32", "bfloat16")
_DEVICES = (None, "cpu", "cuda", "mps")
_ONE = "either a task or data"
_MICRO_BATCH = 4  # largest default number of rows per forward pass


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that determines the result of a training run.

    Attributes:
        pretrained: Base model: hub id or local folder.
        task: lm-eval task of output type ``generate_until`` with a training split; None for data.
        data: A file or folder with the user's own rows, in place of a task.
        model_args: Arguments of lm-eval's ``hf`` model: revision, gguf_file, tokenizer, ….
        include_path: Folder with more tasks.
        num_fewshot: Number of examples in each prompt; None for the task's own.
        apply_chat_template: Whether to use the tokenizer's chat template.
        system_instruction: System message.
        limit: Use only the first ``limit`` training documents; None for all.
        rank: LoRA rank.
        alpha: LoRA alpha.
        dropout: LoRA dropout.
        target_modules: Names of the modules to adapt, or ``("all-linear",)`` for all linear
            modules of the decoder layers.
        boundary: Train only layers ``0..boundary``; None for all layers.
        epochs: Passes over the rows.
        lr: Initial learning rate; decays linearly to zero.
        weight_decay: Weight decay of AdamW.
        max_length: Maximum length of a row in tokens; longer prompts lose their beginning.
        batch_size: Rows per optimizer step.
        micro_batch_size: Most rows in a forward pass; must divide ``batch_size``. Default: its
            largest divisor up to 4.
        dtype: ``bfloat16`` computes with autocast, ``float32`` loads and computes in float32,
            ``auto`` follows the dtype of the stored weights.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best available.
        seed: Seed for initialisation, data order, dropout and few-shot examples.
        save_steps: Optimizer steps between checkpoints.
        save_epochs: Whether to keep the adapter after each epoch too, in a folder of its own.
    """

    pretrained: str
    task: str | None = None
    data: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    include_path: str | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool = False
    system_instruction: str | None = None
    limit: int | None = None
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    boundary: int | None = None
    epochs: float = 3
    lr: float = 1e-4
    weight_decay: float = 0.0
    max_length: int = 2048
    batch_size: int = 16
    micro_batch_size: int | None = None
    dtype: str = "auto"
    device: str | None = None
    seed: int = 0
    save_steps: int = 50
    save_epochs: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        at_least_1 = ("rank", "alpha", "max_length", "batch_size", "save_steps")
        rules = [(name, getattr(self, name) >= 1, "at least 1") for name in at_least_1]
        rules += [
            ("task", self.data is not None or bool(self.task), _ONE),
            ("data", self.data is None or self.task is None, _ONE),
            (
                "num_fewshot",
                self.data is None or not self.num_fewshot,
                "0: rows hold whole prompts",
            ),
            ("limit", self.limit is None or self.limit >= 1, "at least 1"),
            ("num_fewshot", self.num_fewshot is None or self.num_fewshot >= 0, "at least 0"),
            ("epochs", self.epochs > 0, "more than 0"),
            ("lr", self.lr > 0, "more than 0"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("dropout", 0 <= self.dropout < 1, "from 0 to below 1"),
            ("target_modules", bool(self.target_modules), "at least one name"),
            ("dtype", self.dtype in _DTYPES, "auto, float32 or bfloat16"),
            ("device", self.device in _DEVICES, "cpu, cuda or mps"),
            ("micro_batch_size", self._divides(), f"a divisor of batch_size={self.batch_size}"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise LoraBoundaryError(
                    f"{name}={getattr(self, name)!r} cannot be used; expected {expected}"
                )
        if reserved := CUT_ARGUMENTS & set(self.model_args):
            raise ModelError(
                f"model_args contains {', '.join(sorted(reserved))}; training always starts from "
                "the base model given as pretrained"
            )

    def _divides(self) -> bool:
        micro = self.micro_batch_size
        return micro is None or (micro >= 1 and self.batch_size % micro == 0)

    @property
    def micro(self) -> int:
        """Most rows in a forward pass."""
        if self.micro_batch_size is not None:
            return self.micro_batch_size
        return max(n for n in range(1, _MICRO_BATCH + 1) if self.batch_size % n == 0)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as stored in ``training.json``."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return settings
