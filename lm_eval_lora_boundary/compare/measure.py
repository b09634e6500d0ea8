"""The numbers in one leaderboard column: one metric of one task for every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import TaskError
from ..stats.bootstrap import holm
from .columns import direction
from .groups import group_difference
from .intervals import interval
from .paired_difference import NotTestableError, PairedDifference, finite, paired_difference
from .pairing import (
    Entry,
    check_comparable,
    clusters_warning,
    copies_warning,
    pair,
    pair_warnings,
)
from .runs import Run
from .scored import Evidence


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
        common_documents: Number of documents that the baseline answered too; None if not known.
        partly_compared: Whether the model or the baseline answered other documents, too.
        difference: The value minus the baseline's, both on the common documents.
        difference_low: Lower end of the 95 % interval of the difference.
        difference_high: Upper end.
        p_value: Two-sided p-value for no difference.
        p_holm: The same, Holm-corrected for the number of models in the column.
        test: ``McNemar``, ``randomisation`` or ``stratified randomisation``; empty without a test.
    """

    value: float
    stderr: float | None = None
    documents: int | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    common_documents: int | None = None
    partly_compared: bool = False
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    test: str = ""


class Column:
    """One metric of one task over several models.

    Attributes:
        task: The task.
        key: lm-eval's key of the metric, ``metric,filter``.
        direction: Whether a higher value is better; None if not known.
        warnings: What a reader must know to judge the numbers.
        unpaired: Why models could not be paired with the baseline.
        cluster: Field by which documents belong together; None if they do not.
    """

    def __init__(
        self, task: str, key: str, runs: Sequence[Run], labels: Sequence[str], evidence: Evidence
    ) -> None:
        """Look up the results of all models."""
        self.task, self.key = task, key
        self.direction = direction(runs, task, key)
        self.warnings: list[str] = []
        self.unpaired: list[str] = []
        self.cluster: str | None = None
        self._entries = [
            Entry(label, run, run.tasks[task])
            if task in run.tasks and key in run.tasks[task].values
            else None
            for run, label in zip(runs, labels, strict=True)
        ]
        self._labels = labels
        self._evidence = evidence

    def measure(self, baseline: int | None) -> list[Measured | None]:
        """Return the numbers of every model; None for models without the task or metric.

        Args:
            baseline: Index of the model to compare with; None for no comparison.

        Raises:
            OutputError: A samples file is damaged.
        """
        column = [None if entry is None else self._value(entry) for entry in self._entries]
        reference = None if baseline is None else self._entries[baseline]
        if baseline is not None and reference is None:
            self.warnings.append(
                f"{self.task}: {self._labels[baseline]} has no {self.key}, so nothing is compared"
            )
        known = [entry for entry in self._entries if entry is not None]
        for i, (entry, measured) in enumerate(zip(self._entries, column, strict=True)):
            if entry is None or measured is None or entry is (reference or known[0]):
                continue
            if reference is None:
                self._check(entry, known[0])
            else:
                column[i] = self._compare(entry, reference, measured)
        pairs = zip(self._labels, column, strict=True)
        if missing := [label for label, measured in pairs if measured and not measured.interval]:
            self.warnings.append(f"{self.task}, {self.key}: no interval for {', '.join(missing)}")
        return _with_holm(column)

    def _value(self, entry: Entry) -> Measured:
        """Return the value of a model, with its interval."""
        result = entry.result
        scored = self._evidence.scored(result, self.key)
        if scored is not None:
            self.warnings += copies_warning(self.task, entry, scored)
            self.warnings += clusters_warning(self.task, entry, scored)
            if scored.clusters is not None:
                self.cluster = scored.cluster
        elif (reason := self._evidence.unusable(result)) is not None:
            self.warnings.append(
                f"{self.task}: the samples of {entry.label} cannot be used ({reason}), so its "
                "interval is from lm-eval's standard error"
            )
        value, stderr = result.values[self.key], result.stderrs.get(self.key)
        documents = self._documents(entry)
        own = result.directions.get(self.key.partition(",")[0])
        found = interval(scored, value, stderr, own)
        if found is None:
            return Measured(value, stderr, documents)
        low, high, method = found
        return Measured(value, stderr, documents, low, high, method)

    def _documents(self, entry: Entry) -> int | None:
        """Return the number of documents that were scored."""
        scored = self._evidence.scored(entry.result, self.key)
        return entry.result.documents if scored is None else len(scored.samples)

    def _check(self, entry: Entry, other: Entry) -> None:
        """Warn if a model answered other documents than another one."""
        if entry.result.group:
            return
        try:
            self.warnings += check_comparable(self.task, entry, other)
            if entry.result.samples is not None and other.result.samples is not None:
                paired = pair(self.task, self.key, entry, other, self._evidence)
                self.warnings += pair_warnings(self.task, entry, other, paired)
        except TaskError as error:
            self.warnings.append(f"not comparable: {error}")

    def _compare(self, entry: Entry, reference: Entry, measured: Measured) -> Measured:
        """Add the difference from the baseline."""
        theirs = self._documents(reference)
        try:
            found = self._difference(entry, reference)
        except TaskError as error:
            self.unpaired.append(str(error))
            return measured
        except NotTestableError as reason:
            self.warnings.append(f"{self.task}, {self.key}: {entry.label} was not tested: {reason}")
            # values on the same documents still have a difference
            difference = measured.value - reference.result.values[self.key]
            same = self._same_documents(entry, reference)
            return replace(measured, difference=finite(difference)) if same else measured
        return replace(
            measured,
            common_documents=found.documents,
            partly_compared=bool({measured.documents, theirs} - {found.documents, None}),
            difference=finite(found.value),
            difference_low=found.low,
            difference_high=found.high,
            p_value=found.p_value,
            test=found.method,
        )

    def _difference(self, entry: Entry, reference: Entry) -> PairedDifference:
        if entry.result.group or reference.result.group:
            found, warnings = group_difference(
                self.task, self.key, entry, reference, self._evidence
            )
            self.warnings += warnings
            return found
        self.warnings += check_comparable(self.task, entry, reference)
        paired = pair(self.task, self.key, entry, reference, self._evidence)
        self.warnings += pair_warnings(self.task, entry, reference, paired)
        return paired_difference(paired)

    def _same_documents(self, entry: Entry, reference: Entry) -> bool:
        if entry.result.group or reference.result.group:
            return False
        paired = pair(self.task, self.key, entry, reference, self._evidence)
        return paired.same_documents and math.isfinite(entry.result.values[self.key])


def _with_holm(column: Sequence[Measured | None]) -> list[Measured | None]:
    """Correct the p-values of a column for their number."""
    p_values = {
        i: measured.p_value
        for i, measured in enumerate(column)
        if measured is not None and measured.p_value is not None
    }
    if not p_values:
        return list(column)
    corrected = dict(zip(p_values, holm(np.array(list(p_values.values()))), strict=True))
    return [
        replace(measured, p_holm=float(corrected[i]))
        if measured is not None and i in corrected
        else measured
        for i, measured in enumerate(column)
    ]
