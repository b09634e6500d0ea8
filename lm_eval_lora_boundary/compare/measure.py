"""The numbers in one leaderboard column: one metric of one task for every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.stats

from ..errors import TaskError
from ..stats.bootstrap import Difference, holm
from .columns import direction
from .pairing import Entry, check_pair
from .resample import all_binary, documents_of, resample
from .runs import Run
from .samples import SamplesFiles

_NORMAL = 1.959963984540054  # 97.5 % quantile


@dataclass(frozen=True)
class Measured:
    """A model's value of a metric, and its difference from the baseline.

    Attributes:
        value: The value that lm-eval reported.
        stderr: lm-eval's standard error.
        documents: Number of documents.
        low: Lower end of the 95 % interval of the value.
        high: Upper end.
        interval: Method of the interval: ``Wilson``, ``bootstrap``, ``standard error`` or empty.
        difference: Value minus the baseline's value.
        difference_low: Lower end of the 95 % interval of the difference.
        difference_high: Upper end.
        p_value: Two-sided p-value for no difference.
        p_holm: The same, Holm-corrected for the number of models in the column.
        test: ``McNemar`` or ``randomisation``; empty without a test.
    """

    value: float
    stderr: float | None = None
    documents: int | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    test: str = ""


@dataclass(frozen=True)
class Draws:
    """A model's results on resampled documents.

    Attributes:
        low: Lower end of the 95 % interval of the value; None if there are too few documents.
        high: Upper end.
        index: Index of the model among those resampled together.
        difference: Differences of all these models from the baseline; None without a baseline.
        binary: Whether every document is right or wrong for all these models.
    """

    low: float | None
    high: float | None
    index: int
    difference: Difference | None
    binary: bool


class Column:
    """One metric of one task over several models.

    Attributes:
        task: The task.
        key: lm-eval's key of the metric, ``metric,filter``.
        direction: Whether a higher value is better; None if not known.
        warnings: What a reader must know to judge the numbers.
    """

    def __init__(
        self, task: str, key: str, runs: Sequence[Run], labels: Sequence[str], files: SamplesFiles
    ) -> None:
        """Look up the results of all models."""
        self.task, self.key = task, key
        self.direction = direction(runs, task, key)
        self.warnings: list[str] = []
        self._entries = [
            Entry(label, run.tasks[task])
            if task in run.tasks and key in run.tasks[task].values
            else None
            for run, label in zip(runs, labels, strict=True)
        ]
        self._labels = labels
        self._files = files
        self._shares = False  # whether the values are shares of documents that are right

    def measure(self, baseline: int | None) -> list[Measured | None]:
        """Return the numbers of every model; None for models without the task or metric.

        Args:
            baseline: Index of the model to compare with; None for no comparison.

        Raises:
            TaskError: A model cannot be paired with the baseline.
            OutputError: A samples file is damaged.
        """
        reference = None if baseline is None else self._entries[baseline]
        if baseline is not None and reference is None:
            self.warnings.append(
                f"{self.task}: {self._labels[baseline]} has no {self.key}, so nothing is compared"
            )
        entries = [entry for entry in self._entries if entry is not None]
        for entry in entries:
            self._check(entry, reference or entries[0], required=reference is not None)
        # a metric without a direction, such as a ratio, is not a share even if it is always 1
        self._shares = self.direction is not None and all_binary(
            [entry.result for entry in entries], self.key, self._files
        )
        draws = self._draw([entry for entry in entries if not entry.result.group], reference)
        column = [
            None if entry is None else self._measure(entry, reference, draws.get(entry))
            for entry in self._entries
        ]
        pairs = zip(self._labels, column, strict=True)
        if missing := [label for label, measured in pairs if measured and not measured.interval]:
            self.warnings.append(f"{self.task}, {self.key}: no interval for {', '.join(missing)}")
        return _with_holm(column)

    def _check(self, entry: Entry, reference: Entry, *, required: bool) -> None:
        """Check that a model can be paired; if this is not required, only warn."""
        if entry is reference or entry.result.group:
            return
        try:
            self.warnings += check_pair(
                self.task, self.key, entry, reference, self._files, need_samples=required
            )
        except TaskError as error:
            if required:
                raise
            self.warnings.append(f"not comparable: {error}")

    def _draw(self, entries: Sequence[Entry], reference: Entry | None) -> dict[Entry, Draws]:
        """Resample all models together, or one by one where that is not possible."""
        documents = [documents_of(entry.result, self.key, self._files).keys() for entry in entries]
        if entries and all(ids == documents[0] for ids in documents):
            together = self._draw_together(entries, reference)
            if together:
                return together
        result: dict[Entry, Draws] = {}
        for entry in entries:
            pair = [entry] if reference is None or entry is reference else [entry, reference]
            result |= self._draw_together(pair, reference) or self._draw_together([entry], None)
        return result

    def _draw_together(
        self, entries: Sequence[Entry], reference: Entry | None
    ) -> dict[Entry, Draws]:
        """Resample models that share documents; return nothing if the samples do not allow it."""
        resampled = resample([entry.result for entry in entries], self.key, self._files)
        if resampled is None:
            return {}
        bootstrap, binary = resampled
        low, high = bootstrap.interval()
        difference = None if reference is None else bootstrap.difference(entries.index(reference))
        return {
            entry: Draws(_finite(low[i]), _finite(high[i]), i, difference, binary)
            for i, entry in enumerate(entries)
        }

    def _measure(self, entry: Entry, reference: Entry | None, draws: Draws | None) -> Measured:
        """Return the numbers of one model."""
        result = entry.result
        measured = Measured(
            result.values[self.key],
            result.stderrs.get(self.key),
            len(documents_of(result, self.key, self._files)) or result.documents,
        )
        measured = self._with_interval(measured, draws)
        if reference is None or entry is reference or result.group:
            return measured
        difference = measured.value - reference.result.values[self.key]
        measured = replace(measured, difference=_finite(difference))
        if draws is None or draws.difference is None:
            self.warnings.append(
                f"{self.task}, {self.key}: {entry.label} was not tested: the samples do not "
                "reproduce the values, or are too few"
            )
            return measured
        i = draws.index
        return replace(
            measured,
            difference_low=_finite(draws.difference.low[i]),
            difference_high=_finite(draws.difference.high[i]),
            p_value=float(draws.difference.p_value[i]),
            test="McNemar" if draws.binary else "randomisation",
        )

    def _with_interval(self, measured: Measured, draws: Draws | None) -> Measured:
        """Add the interval of the value.

        Where all documents are right, or all wrong, resampling gives an interval of width 0. So
        shares have Wilson's interval (Agresti & Coull 1998, The American Statistician 52,
        119-126).
        """
        if draws is not None and self._shares and measured.documents:
            right = round(measured.value * measured.documents)
            test = scipy.stats.binomtest(right, measured.documents)
            low, high = map(float, test.proportion_ci(method="wilson"))
            return replace(measured, low=low, high=high, interval="Wilson")
        if draws is not None:
            method = "" if draws.low is None else "bootstrap"
            return replace(measured, low=draws.low, high=draws.high, interval=method)
        if measured.stderr is None or not math.isfinite(measured.value):
            return measured
        half = _NORMAL * measured.stderr
        low, high = measured.value - half, measured.value + half
        return replace(measured, low=low, high=high, interval="standard error")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _with_holm(column: Sequence[Measured | None]) -> list[Measured | None]:
    """Correct the p-values of a column for their number."""
    p_values = {
        i: measured.p_value
        for i, measured in enumerate(column)
        if measured is not None and measured.p_value is not None
    }
    corrected = dict(zip(p_values, holm(np.array(list(p_values.values()))), strict=True))
    return [
        replace(measured, p_holm=float(corrected[i]))
        if measured is not None and i in corrected
        else measured
        for i, measured in enumerate(column)
    ]
