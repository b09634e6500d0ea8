"""The settings of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..cuts.boundaries import parse_boundaries
from ..files import TRACED_BASE, TRACED_FULL
from ..harness.settings import EvaluationSettings, Rule


@dataclass(frozen=True, kw_only=True)
class TraceSettings(EvaluationSettings):
    """Everything that decides what a trace produces.

    A row of a batch is one document.

    Attributes:
        boundaries: Boundaries to trace besides the whole adapter and the base model: ranges such
            as ``5-9``, a list such as ``10,20``, ``all``, or nothing.
        document: ``doc_id`` of the document whose heatmap is drawn; None for the one with the
            median probability.
    """

    boundaries: str = ""
    document: int | None = None

    def _rules(self) -> list[Rule]:
        allowed = self.document is None or self.document >= 0
        return [*super()._rules(), ("document", allowed, "a doc_id, at least 0")]

    def evaluation_options(self) -> dict[str, Any]:
        """Return how ``lm_eval.evaluate`` is to build prompts and treat responses."""
        # A trace generates nothing, so no code written by the model can run.
        return super().evaluation_options() | {"confirm_run_unsafe_code": True}

    def models(self, layers: int) -> dict[str, int]:
        """Return the boundaries to trace, by name: whole adapter, base model, others.

        Args:
            layers: Number of decoder layers, N.

        Raises:
            BoundaryError: A boundary is not in ``-1..N-1``.
        """
        models = {TRACED_FULL: layers - 1, TRACED_BASE: -1}
        others = parse_boundaries(self.boundaries, layers) if self.boundaries.strip() else []
        return models | {f"boundary={k}": k for k in others if k not in models.values()}
