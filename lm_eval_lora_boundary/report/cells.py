"""The cells of the tables, each made from the statistics of a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .data import BASE, CutName, Row
from .formatting import (
    NOT_AVAILABLE,
    called,
    clipped,
    hundredths,
    interval,
    number,
    percent,
    probability,
    signed,
    span,
    spread,
    what_is_kept,
)
from .size import parameters, share_kept, share_of_layers

Limits = tuple[float, float] | None
Maker = Callable[[Row], "Cell"]


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        text: The text.
        note: A note after the text, in small print.
        sort: The number to sort by; None if the value is not available.
    """

    text: str
    note: str = ""
    sort: float | None = None


def layers_of(row: Row) -> Cell:
    """Return which layers keep their LoRA."""
    if row.boundary is None:
        return Cell(called(row.name), sort=row.kept_layers)
    text = what_is_kept(row.boundary).removeprefix("layers ").removeprefix("layer ")
    return Cell("none" if row.boundary == BASE else text, sort=row.boundary)


def layer(row: Row) -> Cell:
    """Return the one layer that a family asks for."""
    return Cell(NOT_AVAILABLE if row.layer is None else str(row.layer), sort=row.layer)


def kept(row: Row) -> Cell:
    """Return how many layers keep their LoRA."""
    number_kept = row.kept_layers
    return Cell(NOT_AVAILABLE if number_kept is None else str(number_kept), sort=number_kept)


def strength(row: Row) -> Cell:
    """Return the strength of every layer."""
    text = NOT_AVAILABLE if row.strength is None else f"{row.strength:g}".replace("-", "−")
    return Cell(text, sort=row.strength)


def notation(row: Row) -> Cell:
    """Return the cut as written for ``keep=``."""
    return Cell(row.cut or called(row.name), sort=row.kept_layers)


def value(limits: Limits) -> Maker:
    """Return the metric with its interval."""

    def make(row: Row) -> Cell:
        ends = clipped(row.value_low, row.value_high, limits)
        return Cell(number(row.value), span(*ends), row.value)

    return make


def difference(limits: Limits, best: CutName | None, full: int | None) -> Maker:
    """Return the difference from the whole adapter; a cut that was chosen has a wider interval."""

    def make(row: Row) -> Cell:
        if row.name == full:  # the whole adapter itself
            return Cell(NOT_AVAILABLE, sort=row.delta_full)
        low, high = row.ci_low, row.ci_high
        if row.name == best and row.simultaneous_low is not None:
            low, high = row.simultaneous_low, row.simultaneous_high
        return _delta(row.delta_full, low, high, limits)

    return make


def from_base(limits: Limits) -> Maker:
    """Return the difference from the base model."""
    return lambda row: _delta(row.delta_base, row.base_ci_low, row.base_ci_high, limits)


def _delta(delta: float | None, low: float | None, high: float | None, limits: Limits) -> Cell:
    return Cell(signed(delta), interval(*clipped(low, high, spread(limits))), delta)


def gain_kept(row: Row) -> Cell:
    """Return how much of the gain a cut keeps."""
    share, low, high = row.gain_kept, row.gain_kept_low, row.gain_kept_high
    note = "" if low is None or high is None else f"[{hundredths(low)}, {hundredths(high)}]"
    return Cell(NOT_AVAILABLE if share is None else hundredths(share), note, share)


def p_simultaneous(row: Row) -> Cell:
    """Return the p-value that is corrected for all cuts."""
    return Cell(probability(row.p_simultaneous), sort=row.p_simultaneous)


def documents(row: Row) -> Cell:
    """Return how many documents could be scored."""
    text = NOT_AVAILABLE if row.documents is None else str(int(row.documents))
    return Cell(text, sort=row.documents)


def metric(key: str) -> Maker:
    """Return another metric."""

    def make(row: Row) -> Cell:
        found = row.metrics.get(key)
        return Cell(number(found), sort=found)

    return make


def verdict(found: dict[CutName, str], order: tuple[str, ...]) -> Maker:
    """Return the verdict on a cut, sorted in this order."""

    def make(row: Row) -> Cell:
        text = found.get(row.name)
        return Cell(text or "", sort=None if text is None else order.index(text))

    return make


def size(whole: Row | None, full: int | None, *, known: bool) -> Maker:
    """Return the share of the parameters that a cut keeps, or of the layers if not ``known``."""

    def make(row: Row) -> Cell:
        share = share_kept(row, whole) if known else share_of_layers(row, full)
        return Cell(percent(share), sort=share)

    return make


def parameters_of(row: Row) -> Cell:
    """Return how many parameters a cut keeps."""
    return Cell(parameters(row), sort=row.parameters)
