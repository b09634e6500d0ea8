"""TRL's trainer, made faster for rows of different lengths with few labels.

Every optimizer step has the rows and the loss that TRL would give it. What differs is how a step is
computed: in passes of rows of about the same length, with logits only where there is a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from trl import SFTConfig, SFTTrainer

from ..errors import OutputError, first_line
from ..forward.loglikelihood import head_at
from .data import IGNORED

Batch = Mapping[str, torch.Tensor]

# What a pass computes should fit into the processor's caches; four rows of 600 tokens do not.
_TOKENS_ON_CPU = 1024
# More logits than these, 2 GB with their gradients, are left to TRL, which never holds all at once.
_MOST_LOGITS = 1 << 27


def passes(batch: Batch, rows: int, tokens: int | None = None) -> Iterator[dict[str, torch.Tensor]]:
    """Divide the right-padded rows of an optimizer step into forward passes.

    Every row is in one pass, with rows of about its length, and padded to the longest of them. The
    longest rows come first, so that a run whose memory does not suffice fails early.

    Args:
        batch: Tensors of shape ``(batch, seq)``, among them ``attention_mask``.
        rows: Most rows in a pass.
        tokens: Most tokens in a pass of several rows, padding included; None for any number.
    """
    lengths = batch["attention_mask"].sum(dim=1)
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = rows if tokens is None else max(1, min(rows, tokens // longest))
        chosen = order[start : start + size]
        yield {name: tensor[chosen, :longest] for name, tensor in batch.items()}
        start += size


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, with other passes, and checkpoints of the adapter instead of the whole model.

    A batch of its data loader is an optimizer step, so the trainer itself accumulates no gradients.
    """

    def __init__(self, *, most_rows: int, args: SFTConfig, **arguments: Any) -> None:
        """Prepare.

        Args:
            most_rows: Most rows in a forward pass.
            args: Arguments of the run.
            **arguments: What TRL's trainer takes besides.
        """
        super().__init__(args=args, **arguments)
        self._most_rows = most_rows
        self._most_tokens = _TOKENS_ON_CPU if args.device.type == "cpu" else None
        self._passes = 1  # of the current step

    def training_step(self, model: nn.Module, inputs: Batch, *_: Any, **__: Any) -> torch.Tensor:
        """Compute the gradients of an optimizer step, and return its loss."""
        # for some models, the trainer does not count them
        labels = (inputs["labels"][:, 1:] != IGNORED).sum()
        parts = list(passes(inputs, self._most_rows, self._most_tokens))
        self._passes = len(parts)
        losses = [super(Trainer, self).training_step(model, part, labels) for part in parts]
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a pass: the sum over its labels, divided by the labels of the step.

        Except on some GPUs, TRL computes logits at all positions, and scales them as it reads in
        the config. Here the model's own head runs, and only where there is a label.
        """
        labels = inputs["labels"][:, 1:]  # position i predicts token i + 1
        rows, positions = (labels != IGNORED).nonzero(as_tuple=True)
        targets = labels[rows, positions]
        head = self.model.get_output_embeddings()
        config = self.model.config.get_text_config()
        balanced = getattr(config, "output_router_logits", False)  # set by TRL if it counts
        if len(targets) * head.weight.shape[0] > _MOST_LOGITS and not balanced:
            return super().compute_loss(model, dict(inputs), return_outputs, num_items_in_batch)
        given: dict[str, Any] = {
            name: tensor for name, tensor in inputs.items() if name != "labels"
        }
        if balanced:
            given["output_router_logits"] = True
        with head_at(head, rows, positions):
            outputs = model(**given, use_cache=False)
        logits = outputs.logits
        if logits.shape[:2] != (1, len(rows)):  # a model that does not call its head as a module
            logits = logits[rows, positions].unsqueeze(0)
        loss = nn.functional.cross_entropy(logits[0].float(), targets, reduction="sum")
        loss = loss / (len(targets) if num_items_in_batch is None else num_items_in_batch)
        if (balance := getattr(outputs, "aux_loss", None)) is not None:
            # how evenly the tokens of a pass use the experts is a mean over passes, not over labels
            loss = loss + config.router_aux_loss_coef * balance / self._passes
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # otherwise PEFT asks the hub for the base model's vocabulary, which training never changes
        self.model.save_pretrained(output_dir, save_embedding_layers=False)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch.save's
            raise OutputError(
                f"{self.args.output_dir} cannot be written ({first_line(error)}); earlier "
                "checkpoints are safe: make room, and run the same command again to go on"
            ) from error

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no model card: checkpoint folders are deleted later."""
