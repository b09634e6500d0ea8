"""The numbers of one column of a leaderboard: a metric of a task, of every model."""

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
from .resample import documents_of, resampled, right_or_wrong
from .runs import Run
from .samples import SamplesFiles

_NORMAL = 1.959963984540054  # 97.5 % quantile


@dataclass(frozen=True)
class Measured:
    """A model's value of a metric of a task, and its difference to the baseline.

    Attributes:
        value: The value as lm-eval reported it.
        stderr: lm-eval's standard error.
        documents: Number of documents.
        low: Lower end of the 95 % interval of the value.
        high: Its upper end.
        interval: Where the interval is from: ``Wilson``, ``bootstrap``, ``standard error``, or
            empty.
        difference: Value minus that of the baseline.
        difference_low: Lower end of its 95 % interval.
        difference_high: Its upper end.
        p_value: Two-sided, of no difference.
        p_holm: The same, corrected for the number of models in the column.
        test: ``McNemar`` or ``randomisation``; empty where nothing was tested.
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
    """What documents drawn anew say about a model.

    Attributes:
        low: Lower end of the 95 % interval of its value; None with too few documents.
        high: Upper end.
        column: Which of the models that were drawn together it is.
        difference: How these differ from the reference; None without one.
        binary: Whether every document was right or wrong for all of these.
    """

    low: float | None
    high: float | None
    column: int
    difference: Difference | None
    binary: bool


class Column:
    """A metric of a task over several models.

    Attributes:
        task: The task.
        key: lm-eval's key of the metric, ``metric,filter``.
        warnings: What a reader must know to judge the numbers.
    """

    def __init__(
        self, task: str, key: str, runs: Sequence[Run], labels: Sequence[str], files: SamplesFiles
    ) -> None:
        """Look up the results.

        Args:
            task: The task.
            key: lm-eval's key of the metric, ``metric,filter``.
            runs: The models.
            labels: What to call each.
            files: Reads samples.
        """
        self.task, self.key = task, key
        self.warnings: list[str] = []
        self._entries = [
            Entry(label, run.tasks[task])
            if task in run.tasks and key in run.tasks[task].values
            else None
            for run, label in zip(runs, labels, strict=True)
        ]
        self._labels = labels
        self._files = files
        self._directed = direction(runs, task, key) is not None
        self._shares = False

    def measure(self, baseline: int | None) -> list[Measured | None]:
        """Return the numbers of every model, None for one without the task or metric.

        Args:
            baseline: The model that others are compared with; None to compare with none.

        Raises:
            TaskError: A model cannot be paired with the baseline.
            OutputError: A samples file is damaged.
        """
        reference = None if baseline is None else self._entries[baseline]
        if baseline is not None and reference is None:
            self.warnings.append(
                f"{self.task}: {self._labels[baseline]} has no {self.key}, so nothing is compared"
            )
        there = [entry for entry in self._entries if entry is not None]
        for entry in there:
            self._check(entry, reference or there[0], refuse=reference is not None)
        # a ratio that is 1 everywhere is no share of documents that are right
        self._shares = self._directed and right_or_wrong(
            [entry.result for entry in there], self.key, self._files
        )
        draws = self._draws([entry for entry in there if not entry.result.group], reference)
        found = [
            None if entry is None else self._measured(entry, reference, draws.get(entry))
            for entry in self._entries
        ]
        if any(each is not None and not each.interval for each in found):
            who = [self._labels[i] for i, each in enumerate(found) if each and not each.interval]
            self.warnings.append(f"{self.task}, {self.key}: no interval for {', '.join(who)}")
        return _corrected(found)

    def _check(self, entry: Entry, reference: Entry, *, refuse: bool) -> None:
        """Refuse to compare, or warn of, what is not the same task on the same documents."""
        if entry is reference or entry.result.group:
            return
        try:
            self.warnings += check_pair(
                self.task, self.key, entry, reference, self._files, samples=refuse
            )
        except TaskError as error:
            if refuse:
                raise
            self.warnings.append(f"not comparable: {error}")

    def _draws(self, entries: Sequence[Entry], reference: Entry | None) -> dict[Entry, Draws]:
        """Draw documents once for all models, or for each where these cannot be put together."""
        if not entries:
            return {}
        documents = [documents_of(each.result, self.key, self._files).keys() for each in entries]
        if all(each == documents[0] for each in documents):
            found = self._draw(entries, reference)
            if found:
                return found
        found = {}
        for entry in entries:
            pair = [entry] if reference is None or entry is reference else [entry, reference]
            found |= self._draw(pair, reference) or self._draw([entry], None)
        return found

    def _draw(self, entries: Sequence[Entry], reference: Entry | None) -> dict[Entry, Draws]:
        """Draw documents for models that share them; nothing if their samples do not allow it."""
        drawn = resampled([entry.result for entry in entries], self.key, self._files)
        if drawn is None:
            return {}
        bootstrap, binary = drawn
        low, high = bootstrap.interval()
        difference = None if reference is None else bootstrap.difference(entries.index(reference))
        return {
            entry: Draws(_finite(low[i]), _finite(high[i]), i, difference, binary)
            for i, entry in enumerate(entries)
        }

    def _measured(self, entry: Entry, reference: Entry | None, draws: Draws | None) -> Measured:
        """Return the numbers of a model."""
        result = entry.result
        found = Measured(
            result.values[self.key],
            result.stderrs.get(self.key),
            len(documents_of(result, self.key, self._files)) or result.documents,
        )
        found = self._with_interval(found, draws)
        if reference is None or entry is reference or result.group:
            return found
        difference = found.value - reference.result.values[self.key]
        found = replace(found, difference=difference if math.isfinite(difference) else None)
        if draws is None or draws.difference is None:
            self.warnings.append(
                f"{self.task}, {self.key}: {entry.label} could not be tested; the samples do not "
                "explain the values, or are too few"
            )
            return found
        return replace(
            found,
            difference_low=_finite(draws.difference.low[draws.column]),
            difference_high=_finite(draws.difference.high[draws.column]),
            p_value=float(draws.difference.p_value[draws.column]),
            test="McNemar" if draws.binary else "randomisation",
        )

    def _with_interval(self, found: Measured, draws: Draws | None) -> Measured:
        """Return numbers with the interval of the value.

        All documents right, or all wrong, leave nothing to draw anew: of shares the interval is
        Wilson's (Agresti & Coull 1998, The American Statistician 52, 119-126).
        """
        if draws is not None and self._shares and found.documents:
            right = round(found.value * found.documents)
            wilson = scipy.stats.binomtest(right, found.documents).proportion_ci(method="wilson")
            return replace(found, low=float(wilson.low), high=float(wilson.high), interval="Wilson")
        if draws is not None:
            known = "" if draws.low is None else "bootstrap"
            return replace(found, low=draws.low, high=draws.high, interval=known)
        if found.stderr is None or not math.isfinite(found.value):
            return found
        far = _NORMAL * found.stderr
        low, high = found.value - far, found.value + far
        return replace(found, low=low, high=high, interval="standard error")


def _finite(value: float) -> float | None:
    """Return a number, None for what is not available."""
    return float(value) if math.isfinite(value) else None


def _corrected(found: Sequence[Measured | None]) -> list[Measured | None]:
    """Correct the p-values of a column for their number."""
    p_values = {
        i: each.p_value
        for i, each in enumerate(found)
        if each is not None and each.p_value is not None
    }
    corrected = dict(zip(p_values, holm(np.array(list(p_values.values()))), strict=True))
    return [
        replace(each, p_holm=float(corrected[i])) if each is not None and i in corrected else each
        for i, each in enumerate(found)
    ]
