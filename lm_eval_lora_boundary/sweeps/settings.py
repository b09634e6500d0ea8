"""What a sweep is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import AdapterError, LoraBoundaryError
from ..harness.settings import EvaluationSettings, Rule

ENGINES = ("auto", "fork", "toggle", "vllm")
CANDIDATES = ("all", "trace")


@dataclass(frozen=True, kw_only=True)
class SweepSettings(EvaluationSettings):
    """Everything that decides what a sweep produces.

    A row of a batch is one document under one boundary.

    Attributes:
        boundaries: ``all``, ranges such as ``0-29``, or a list such as ``10,20``. The base model
            and the whole adapter are always scored as well.
        candidates: ``all`` of these boundaries, or ``trace``: those around the one that a trace
            suggests.
        metric: What to choose by: a metric, or ``metric,filter``. None: the first of each task.
        engine: ``auto``, ``fork``, ``toggle`` or ``vllm``.
        race: Drop boundaries that are statistically out before all documents are answered.
        error_rate: How often the race may drop the boundary that would have won.
        confirm: After choosing on the validation split, score the choice, the whole adapter and
            the base model on the test split.
        save: Record the choice in the adapter folder, for ``boundary=auto``.
    """

    boundaries: str = "all"
    candidates: str = "all"
    metric: str | None = None
    engine: str = "auto"
    race: bool = False
    error_rate: float = 0.2
    confirm: bool = True
    save: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no sweep can have."""
        super().__post_init__()
        if self.candidates == "trace" and self.boundaries.strip() != "all":
            raise LoraBoundaryError(
                f"candidates=trace chooses the boundaries, and boundaries={self.boundaries} was "
                "given; leave out one of them"
            )
        if self.save and not Path(self.peft).expanduser().is_dir():
            raise AdapterError(f"--save needs an adapter in a local folder; peft={self.peft}")

    def _rules(self) -> list[Rule]:
        return [
            *super()._rules(),
            ("candidates", self.candidates in CANDIDATES, " or ".join(CANDIDATES)),
            ("engine", self.engine in ENGINES, ", ".join(ENGINES)),
            ("error_rate", 0 < self.error_rate < 1, "between 0 and 1"),
        ]

    @property
    def model(self) -> str:
        """``--model`` of the same evaluation under ``lm_eval``."""
        return "lora_boundary_vllm" if self.engine == "vllm" else super().model

    def asked(self, traced: str | None) -> dict[str, object]:
        """Return what the signature says about the sweep itself, as far as it was asked for.

        Args:
            traced: The boundaries that a trace suggested, if one was run.
        """
        window = f" ({traced})" if traced else ""
        return {
            "metric": self.metric,
            "boundaries": self.boundaries if self.boundaries.strip() != "all" else None,
            "candidates": f"trace{window}" if self.candidates == "trace" else None,
            "race": f"error rate {self.error_rate:g}" if self.race else None,
        }
