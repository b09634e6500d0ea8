"""The settings of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..cuts.boundaries import parse_boundaries
from ..cuts.keep import Cut, parse_keep
from ..files import TRACED_BASE, TRACED_FULL
from ..harness.settings import EvaluationSettings, Rule


@dataclass(frozen=True, kw_only=True)
class TraceSettings(EvaluationSettings):
    """Everything that decides what a trace produces.

    A row of a batch is one document.

    Attributes:
        boundaries: Boundaries to trace besides the whole adapter and the base model: ranges such
            as ``5-9``, a list such as ``10,20``, ``all``, or nothing.
        keep: Other cuts to trace, each as in :func:`.parse_keep`.
        document: ``doc_id`` of the document whose heatmap is drawn; None for the one with the
            median probability.
        gradient: Also compute the derivative of the gold log-probability by the strength of each
            layer's LoRA: a map of the layers, and a curve over the boundaries.
        measure: Also measure what the gradient predicts, in a forward pass for every layer and
            every boundary.
    """

    boundaries: str = ""
    keep: tuple[str, ...] = ()
    document: int | None = None
    gradient: bool = False
    measure: bool = False

    def _rules(self) -> list[Rule]:
        allowed = self.document is None or self.document >= 0
        return [
            *super()._rules(),
            ("document", allowed, "a doc_id, at least 0"),
            ("measure", self.gradient or not self.measure, "gradient=True as well"),
        ]

    def evaluation_options(self) -> dict[str, Any]:
        """Return how ``lm_eval.evaluate`` is to build prompts and treat responses."""
        # A trace generates nothing, so no code written by the model can run.
        return super().evaluation_options() | {"confirm_run_unsafe_code": True}

    def requested(self) -> dict[str, object]:
        """Return what the signature says about the trace itself."""
        measured = " and measured" if self.measure else ""
        return {"gradient": f"computed{measured}" if self.gradient else None}

    def models(self, layers: int) -> dict[str, Cut]:
        """Return the cuts to trace, by name: whole adapter, base model, others.

        Args:
            layers: Number of decoder layers, N.

        Raises:
            BoundaryError: A boundary is not in ``-1..N-1``, or the model does not have such cuts.
        """
        models = {TRACED_FULL: Cut.up_to(layers - 1, layers), TRACED_BASE: Cut.up_to(-1, layers)}
        boundaries = parse_boundaries(self.boundaries, layers) if self.boundaries.strip() else []
        others = [Cut.up_to(boundary, layers) for boundary in boundaries]
        others += [parse_keep(keep, layers) for keep in self.keep]
        return models | {str(cut): cut for cut in others if cut not in models.values()}
