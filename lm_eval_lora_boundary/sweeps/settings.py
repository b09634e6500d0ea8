"""The settings of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cuts.families import DEFAULT, Family, check_families
from ..errors import AdapterError, LoraBoundaryError, ModelError
from ..harness import processes
from ..harness.own_data.function_name import function_hash, function_name, is_function
from ..harness.settings import EvaluationSettings, Rule
from ..stats.margin import Margin

ENGINES = ("auto", "fork", "toggle", "vllm")
CANDIDATES = ("all", "trace", "gradient")
MARGIN = "10%"


@dataclass(frozen=True, kw_only=True)
class SweepSettings(EvaluationSettings):
    """Everything that decides what a sweep produces.

    A row of a batch is one document under one cut.

    Attributes:
        gen_kwargs: Generation arguments that override those of the tasks.
        confirm_run_unsafe_code: Evaluate tasks that run code written by the model.
        boundaries: ``all``, ranges such as ``0-29``, or a list such as ``10,20``. The base model
            and the whole adapter are always scored as well.
        family: The families of cuts to score; see :mod:`..cuts.families`.
        candidates: ``all`` of these boundaries, or only those around the one that a ``trace`` or
            its ``gradient`` suggests.
        metric: The metric to choose by, or ``metric,filter``, or for the user's own rows a function
            ``FILE.py:FUNCTION``; None for each task's first.
        margin: How much a cut may lose and still count as keeping the gain: a share of the whole
            adapter's gain, such as ``10%``, or a loss in the metric's unit, such as ``0.02``.
        cluster: The field of a document that says what it belongs to; documents that belong
            together are drawn together. None for the task's own field, ``none`` for no field.
        control: Names of further tasks to score under the same cuts, as for ``tasks``.
        engine: ``auto``, ``fork``, ``toggle`` or ``vllm``.
        race: Drop cuts that have statistically lost before all documents are answered.
        error_rate: How often the race may drop the cut that would have won.
        confirm: If the best cut is found on the validation split, score it, the whole adapter
            and the base model on the test split.
        save: Record the choice in the adapter folder, for ``boundary=auto``.
    """

    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    confirm_run_unsafe_code: bool = False
    boundaries: str = "all"
    family: tuple[str, ...] = (DEFAULT,)
    candidates: str = "all"
    metric: str | None = None
    margin: str = MARGIN
    cluster: str | None = None
    control: tuple[str, ...] = ()
    engine: str = "auto"
    race: bool = False
    error_rate: float = 0.2
    confirm: bool = True
    save: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        super().__post_init__()
        if self.candidates != "all" and self.boundaries.strip() != "all":
            raise LoraBoundaryError(
                f"candidates={self.candidates} chooses the boundaries, and "
                f"boundaries={self.boundaries} was given; leave out one of them"
            )
        if self.data is None and is_function(self.metric):
            raise LoraBoundaryError(
                f"metric={self.metric} is a function of your own, and these score rows of data; of "
                f"tasks={','.join(self.tasks)}, name a metric"
            )
        Margin.read(self.margin)
        check_families(self.family)
        chosen = self.boundaries.strip() != "all" or self.candidates != "all"
        if chosen and DEFAULT not in self.family:
            raise LoraBoundaryError(
                f"boundaries or candidates were given, but family={','.join(self.family)} does not "
                f"have {DEFAULT}, the family that they choose from; add it, or leave them out"
            )
        if "output" in self.family and self.engine == "vllm":
            raise ModelError(
                "family=output looks into the layers, and with engine=vllm no weights are loaded "
                "here; use another engine, or another family, such as norm or map"
            )
        if self.save and not Path(self.peft).expanduser().is_dir():
            raise AdapterError(f"--save needs an adapter in a local folder; peft={self.peft}")
        if "tp_plan" in self.model_args and processes.count() > 1:
            raise ModelError(
                "model_args sets tp_plan, which spreads one model over all "
                f"{processes.count()} processes, but a sweep gives each process its own model; "
                "leave it out, or use parallelize=True without a launcher"
            )

    def _rules(self) -> list[Rule]:
        return [
            *super()._rules(),
            ("family", bool(self.family), "at least one name"),
            ("candidates", self.candidates in CANDIDATES, ", ".join(CANDIDATES)),
            ("engine", self.engine in ENGINES, ", ".join(ENGINES)),
            ("error_rate", 0 < self.error_rate < 1, "between 0 and 1"),
        ]

    @property
    def model(self) -> str:
        """``--model`` of the same evaluation under ``lm_eval``."""
        return "lora_boundary_vllm" if self.engine == "vllm" else super().model

    @property
    def own_metric(self) -> str | None:
        """The metric for the user's own rows; None for the one that suits them."""
        return self.metric

    @property
    def metric_name(self) -> str | None:
        """The metric to choose by, as lm-eval knows it."""
        return (
            function_name(self.metric) if self.metric and is_function(self.metric) else self.metric
        )

    @property
    def generation(self) -> dict[str, Any]:
        """Generation arguments that override those of the tasks."""
        return dict(self.gen_kwargs)

    def evaluation_options(self) -> dict[str, Any]:
        """Return how ``lm_eval.evaluate`` is to build prompts and treat responses."""
        allowed = {"confirm_run_unsafe_code": self.confirm_run_unsafe_code}
        return super().evaluation_options() | allowed

    def requested(self, traced: str | None, families: Sequence[Family]) -> dict[str, object]:
        """Return what the signature says about the sweep itself.

        Args:
            traced: The boundaries that a trace suggests; None for those of the settings.
            families: The families that were asked for, other than ``upper``.
        """
        others = iter(families)
        asked = [name if name == DEFAULT else next(others).signature for name in self.family]
        window = f" ({traced})" if traced else ""
        return {
            "metric": self._metric_and_code(),
            "margin": self.margin if self.margin != MARGIN else None,
            "cluster": self.cluster,
            "control": ",".join(self.control),
            "boundaries": self.boundaries if self.boundaries.strip() != "all" else None,
            "family": ",".join(asked) if self.family != (DEFAULT,) else None,
            "candidates": f"{self.candidates}{window}" if self.candidates != "all" else None,
            "race": f"error rate {self.error_rate:g}" if self.race else None,
        }

    def _metric_and_code(self) -> str | None:
        """Return the metric; of a function of the user's own, with a hash of its code."""
        if self.metric is None or not is_function(self.metric):
            return self.metric
        # not the path, which says nothing on another machine
        return f"{function_name(self.metric)} of {function_hash(self.metric)[:12]}"
