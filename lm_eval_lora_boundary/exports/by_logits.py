"""Verify a written adapter by its logits, with the weights of the base model."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import PeftModel

from ..cuts.cut import LoraCut
from ..errors import OutputError
from .fresh_base import Bases
from .verify import check_equal, logits


@dataclass(frozen=True)
class ByLogits:
    """What a written cut must compute.

    Attributes:
        bases: Where a fresh base model comes from.
        modules: Paths of the modules that PEFT will adapt.
        grown_rows: Rows of the vocabulary if the adapter grew it, or 0.
        tokens: Prompts, ``(batch, seq)``.
        logits: The cut's logits for them, ``(batch, seq, vocab)``.
    """

    bases: Bases
    modules: Set[str]
    grown_rows: int
    tokens: torch.Tensor
    logits: torch.Tensor
    name: ClassVar = "logits"

    def base(self) -> Any:
        """Return what PEFT loads the folder onto."""
        base = self.bases.fresh()
        if self.grown_rows:
            base.resize_token_embeddings(self.grown_rows, mean_resizing=False)
        return base

    def compare(self, model: PeftModel) -> float:
        """Compare a model that PEFT has made of a written folder; return the largest difference.

        Raises:
            OutputError: It is not the cut.
        """
        computed = logits(model, self.tokens)
        adapted = {module.name for module in LoraCut(model, ()).modules}
        if adapted != self.modules:
            raise OutputError(
                f"nothing was written: after reloading, PEFT adapts {len(adapted)} modules instead "
                f"of {len(self.modules)} (first difference: {min(adapted ^ self.modules)})"
            )
        what = "the adapter (PEFT cannot express this cut; merge it with --merge)"
        return check_equal(computed, self.logits, what)
