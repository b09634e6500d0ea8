"""The content of ``sweep.json``, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .conclusions import Answer, Clusters, Control, Optimism
from .formatting import SIGNIFICANT, limits
from .trace_data import Trace

BASE = -1
# kinds of families, and so of layer maps, that ask for the effect of single layers
MAP_KINDS = ("each", "only")

# what a sweep calls a cut: K if it is a boundary, otherwise its notation, such as "0-9+20-29"
CutName = int | str


@dataclass(frozen=True)
class Row:
    """A task's statistics at one cut; None where one is not available.

    Attributes:
        boundary: None if the cut is no boundary.
        value: The metric.
        value_low: Lower end of its 95 % interval.
        delta_full: Its difference to the whole adapter; ``ci_low``, ``ci_high`` and ``p_value`` are
            its 95 % interval and two-sided p-value, for this cut alone.
        p_simultaneous: The p-value corrected for all cuts (max-T); ``simultaneous_low`` and
            ``simultaneous_high`` are the interval that holds for all of them at once.
        delta_base: The difference to the base model, with its interval in ``base_…``.
        gain_kept: Share of the whole adapter's gain over the base model; ``gain_kept_low`` and
            ``gain_kept_high`` are its 90 % interval: the lower end is a bound at 95 %.
        p_noninferior: One-sided, of the hypothesis that the cut loses the margin or more.
        selection_share: Where the cut is the best on a random half of the documents, how often it
            is the best on the other half too.
        documents: Number of documents.
        metrics: All values of the task, by lm-eval's key.
        cut: The cut's notation; boundaries of the default family have none.
        kept: Number of layers that are not dropped, and their mean ``strength``.
        layer: The one layer that a family of kind ``each`` or ``only`` asks for.
        parameters: How many parameters of the adapter the cut keeps; in its file they take
            ``bytes``, and they are in ``layers_kept`` layers.
    """

    boundary: int | None
    value: float | None = None
    stderr: float | None = None
    delta_full: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_simultaneous: float | None = None
    delta_base: float | None = None
    base_ci_low: float | None = None
    base_ci_high: float | None = None
    gain_kept: float | None = None
    gain_kept_low: float | None = None
    gain_kept_high: float | None = None
    p_noninferior: float | None = None
    selection_share: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    documents: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    cut: str | None = None
    kept: float | None = None
    strength: float | None = None
    layer: int | None = None
    parameters: float | None = None
    bytes: float | None = None
    layers_kept: float | None = None

    @property
    def name(self) -> CutName:
        """What a sweep calls the cut."""
        return self.boundary if self.boundary is not None else self.cut or ""

    @property
    def kept_layers(self) -> int | None:
        """Number of layers that are not dropped, if that is known."""
        if self.kept is not None:
            return int(self.kept)
        return None if self.boundary is None else self.boundary + 1


@dataclass(frozen=True)
class Confirmation:
    """Some cuts on documents that were not used to choose them.

    Attributes:
        rows: The base model, what may be recommended and the whole adapter, ascending.
        signature: What was run, in one line; None if an earlier version scored them.
    """

    split: str
    documents: int | None
    rows: tuple[Row, ...]
    signature: str | None = None


@dataclass(frozen=True)
class Family:
    """A family of cuts beside the boundaries.

    Attributes:
        name: As the user gave it, such as ``random:3``.
        kind: ``order`` (from the whole adapter down to the base), ``each`` (a cut leaves one layer
            out), ``only`` (it keeps one layer), ``scale`` (it scales all layers) or ``list``.
        cuts: The statistics of its cuts, in the family's order.
    """

    name: str
    kind: str
    cuts: tuple[Row, ...]

    def best(self, higher_is_better: bool) -> Row | None:
        """Return the cut with the best value, in a tie the smallest; None if none has a value."""
        sign = 1 if higher_is_better else -1
        scored = [row for row in self.cuts if row.value is not None]
        # max takes the first of equals
        scored.sort(key=lambda row: (row.kept or 0, row.strength or 0))
        return max(scored, key=lambda row: sign * (row.value or 0), default=None)


@dataclass(frozen=True)
class LayerEffect:
    """How much one layer's LoRA improves the metric; positive if it helps.

    The interval and the p-value hold for all layers at once.
    """

    layer: int
    effect: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the effect differs from zero: the interval shows it, or else the p-value."""
        if self.ci_low is not None and self.ci_high is not None:
            return self.ci_low > 0 or self.ci_high < 0
        return self.p_value is not None and self.p_value <= SIGNIFICANT


@dataclass(frozen=True)
class TaskFound:
    """The result of a sweep on one task.

    Attributes:
        metric: lm-eval's key of the metric that boundaries are chosen by.
        split: Split of the documents; None for what lm-eval evaluates.
        rows: One per boundary, ascending.
        best: The best cut; the whole adapter if there was no reason to choose.
        choice: The recommended cut; the whole adapter where nothing is shown for a cut.
        choice_basis: What is shown for it; None if nothing is.
        smallest_noninferior: The smallest cut shown to keep the gain but for the ``margin``.
        noninferior: All that are shown to, on the documents that answer the questions.
        kept_here: All that are shown to on the documents of ``rows``.
        answers: The answers to the questions, in their order.
        collapse: Every scored boundary from 0 up to this one is significantly worse than the
            whole adapter.
        same_documents: Whether the best was chosen on the documents of ``rows``.
        optimism: How much that choice inflates its score.
        test: The confirmation on other documents.
        directions: By metric, whether higher is better, where that is known.
        not_chosen: Why there was no reason to choose a boundary; None if there was.
        choice_reason: Why the whole adapter stays; None if a cut is recommended.
        clusters: What was drawn instead of the documents that the questions are answered on.
        families: Other families of cuts than the boundaries.
        layer_maps: The effects of single layers, by kind.
        controls: How the best cuts of ``families`` compare with the best boundary.
        buys: What the choice saves and what it does not, in sentences; first its size.
    """

    name: str
    metric: str
    higher_is_better: bool
    split: str | None
    documents: int | None
    rows: tuple[Row, ...]
    best: CutName
    choice: CutName
    smallest_noninferior: CutName | None
    collapse: int | None
    same_documents: bool
    optimism: Optimism | None
    test: Confirmation | None
    trace: Trace | None
    directions: Mapping[str, bool] = field(default_factory=dict)
    not_chosen: str | None = None
    margin: str | None = None
    choice_basis: str | None = None
    choice_reason: str | None = None
    answers: tuple[Answer, ...] = ()
    noninferior: tuple[CutName, ...] = ()
    kept_here: tuple[CutName, ...] = ()
    clusters: Clusters | None = None
    families: tuple[Family, ...] = ()
    layer_maps: Mapping[str, tuple[LayerEffect, ...]] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()
    buys: tuple[str, ...] = ()

    @property
    def best_name(self) -> str:
        """What ``best`` is called."""
        if self.not_chosen is not None:
            return "whole adapter"
        return "best boundary" if isinstance(self.best, int) else "best cut"

    def answer(self, key: str) -> Answer | None:
        """Return the answer to a question; None if there is none."""
        return next((answer for answer in self.answers if answer.key == key), None)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The smallest and the largest value that the metric can have, if that is known."""
        could_tell = self.answer("could_tell")
        scale = None if could_tell is None else could_tell.scale
        return limits(self.metric, (row.value for row in self.all_rows.values()), scale)

    @property
    def metric_keys(self) -> list[str]:
        """lm-eval's keys of the task's metrics; first the one to choose by."""
        keys = dict.fromkeys(key for row in self.rows for key in row.metrics)
        others = [
            key
            for key in keys
            if "," in key and not key.partition(",")[0].endswith("_stderr") and key != self.metric
        ]
        return [self.metric, *others]

    def higher(self, key: str) -> bool | None:
        """Return whether higher is better for a metric; None if that is not known."""
        if key == self.metric:
            return self.higher_is_better
        return self.directions.get(key.partition(",")[0])

    @property
    def collapsed(self) -> list[int]:
        """The scored boundaries from 0 up to ``collapse``, ascending."""
        boundaries = [row.boundary for row in self.rows if row.boundary is not None]
        highest = BASE if self.collapse is None else self.collapse
        return [boundary for boundary in boundaries if 0 <= boundary <= highest]

    @property
    def all_rows(self) -> dict[CutName, Row]:
        """The statistics of every scored cut, boundaries first."""
        rows = (*self.rows, *(row for family in self.families for row in family.cuts))
        found: dict[CutName, Row] = {}
        for row in rows:
            found.setdefault(row.name, row)  # a cut may be in several families
        return found

    def row(self, name: CutName | None) -> Row | None:
        """Return the statistics of a cut; None if it was not scored."""
        return None if name is None else self.all_rows.get(name)


@dataclass(frozen=True)
class SweepFound:
    """The result of a sweep.

    Attributes:
        signature: What was run, in one line.
        groups: By group, lm-eval's values at each boundary.
        race: What the race dropped; empty without a race.
        notes: What does not fit the adapter's training, and other things to know.
        prompt_notes: How prompts begin.
        folder: The sweep's folder, as it was given.
        trace_settings: The settings of the trace beside it; empty without one.
        speed: What ``speed.json`` says about the time that a token takes, by cut.
        date: When lm-eval wrote the first cut's results, in its own form; None if not known.
    """

    signature: str
    settings: Mapping[str, Any]
    engine: str
    tasks: tuple[TaskFound, ...]
    groups: Mapping[str, tuple[Row, ...]]
    race: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    prompt_notes: tuple[str, ...] = ()
    folder: str = "SWEEP"
    trace_settings: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[CutName, tuple[str, ...]] = field(default_factory=dict)
    date: str | None = None

    @property
    def has_texts(self) -> bool:
        """Whether the files of the sweep hold prompts and answers."""
        return not self.settings.get("no_texts")
