"""Whether other cuts than that of the upper layers would do as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lm_eval_lora_boundary.report.formatting import metric_name

from ..comparing import Value, against_several
from ..cuts import STRENGTHS, boundary, of_size, sizes
from ..metrics import GOLD
from ..plan import Data
from ..study import Seed, Study
from ..text import NOT_SUPPORTED, OPEN, SUPPORTED, Finding, change, each, listed

Rivals = Callable[[Seed, int], Mapping[str, str]]


@lru_cache(maxsize=1)  # the README repeats it
def other_orders(study: Study) -> Finding:
    """Does dropping the upper layers beat dropping as many others?"""
    return _against_rivals(
        study,
        _orders,
        "Does dropping the upper layers beat dropping as many others?",
        "The other orders: `lower` drops from the bottom; `norm` the layers whose LoRA update is "
        "smallest; `output` those whose LoRA output is smallest; `map` those that cost least when "
        "left out alone; `random:N` is a random order. Orders that keep the same layers count "
        "once.",
    )


def one_strength(study: Study) -> Finding:
    """Does dropping the upper layers beat the whole adapter at a lower strength?"""
    return _against_rivals(
        study,
        _strengths,
        "Does dropping the upper layers beat the whole adapter at one lower strength?",
        "The rivals keep all layers, with their LoRA scaled down. A strength near 1 is close to "
        "the whole adapter: where that beats the cut, so will such a rival.",
    )


@dataclass(frozen=True)
class _Compared:
    """A cut of the upper layers and its rivals, on the test documents of one data set.

    Attributes:
        title: The data set.
        upper: What the cut keeps.
        names: The rivals.
        gains: How much better the cut is, by the first metric.
        at_most: Upper ends of intervals that hold for all rivals at once.
        likelihood: How much better it is by the log-likelihood of the gold answer.
    """

    title: str
    upper: str
    names: Sequence[str]
    gains: Sequence[Value]
    at_most: Sequence[float]
    likelihood: Sequence[Value]

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        cells = zip(self.names, self.gains, self.likelihood, strict=True)
        return [[self.title, self.upper, name, change(a), change(b)] for name, a, b in cells]


def _against_rivals(study: Study, rivals: Rivals, question: str, sentence: str) -> Finding:
    """Compare the cut of the upper layers with others, by metric and by log-likelihood.

    Args:
        study: The records.
        rivals: Returns the other cuts of a seed by name, given how many layers are kept.
        question: The question.
        sentence: What the rivals are.
    """
    rows, verdicts = [], []
    sentences = [
        "Differences on the test documents: positive where the cut of the upper layers is better. "
        "That cut is the boundary that was best on the validation documents, or two thirds of the "
        "layers where that is the whole adapter or the base model. Supported: it beats every "
        "rival. Not supported: for at least one rival, a gain of one point is ruled out, allowing "
        "for the number of rivals. The intervals and counts are of single comparisons, without "
        "such an allowance.",
        sentence,
    ]
    losing = []
    for data, seeds in study.having("choose", "orders", "test"):
        kept = [sizes(seed.steps["choose"], data) for seed in seeds]
        judged = _compare(data, seeds, [found[0] for found in kept], rivals)
        if not judged.gains:
            continue
        rows += judged.rows()
        verdicts.append((data.title, all_beaten(judged.gains, judged.at_most, data.scale)))
        sentences.append(
            f"On {data.title}, {judged.upper} {_counted(judged.gains)} by "
            f"{metric_name(data.metrics[0])}, and {_counted(judged.likelihood)} by log-likelihood."
        )
        if 2 * sum(gain.high < 0 for gain in judged.likelihood) > len(judged.likelihood):
            losing.append(data.title)
        if any(found[-1] != found[0] for found in kept):
            rows += _compare(data, seeds, [found[-1] for found in kept], rivals).rows()
    return Finding(
        question,
        verdicts,
        sentences,
        ("data", "layers kept", "against", "first metric", "log-likelihood of the gold"),
        rows,
        remark=f"By log-likelihood, it loses to most rivals on {listed(losing)}." if losing else "",
    )


def _compare(data: Data, seeds: Sequence[Seed], kept: Sequence[int], rivals: Rivals) -> _Compared:
    pairs = list(zip(seeds, kept, strict=True))
    upper = tuple(boundary(k - 1, seed.layers) for seed, k in pairs)
    others = [rivals(seed, k) for seed, k in pairs]
    named: dict[tuple[str, ...], list[str]] = {}
    for name in others[0]:
        named.setdefault(tuple(found[name] for found in others), []).append(name)
    named.pop(upper, None)  # an order that drops the upper layers, too
    cuts = list(named)
    gains: list[Value] = []
    at_most: list[float] = []
    likelihood: list[Value] = []
    if cuts:
        tests = [seed.task("test") for seed in seeds]
        golds = [seed.task("test", data.gold_task) for seed in seeds]
        gains, at_most = against_several(tests, data.metrics[0], upper, cuts)
        likelihood, _ = against_several(golds, GOLD, upper, cuts)
    names = [", ".join(names) for names in named.values()]
    return _Compared(data.title, each(upper), names, gains, at_most, likelihood)


def _orders(seed: Seed, kept: int) -> Mapping[str, str]:
    orders = seed.steps["orders"]["orders"]
    return {name: of_size(order, kept) for name, order in orders.items()}


def _strengths(seed: Seed, kept: int) -> Mapping[str, str]:
    del seed, kept
    return {f"strength {strength}": f"all@{strength}" for strength in STRENGTHS}


def _counted(gains: Sequence[Value]) -> str:
    """Return how many rivals something is shown to beat, and how many beat it."""
    better, worse = sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)
    return f"beats {better or 'none'} of {len(gains)} and loses to {worse or 'none'}"


def all_beaten(gains: Sequence[Value], at_most: Sequence[float], scale: float) -> str:
    """Return the verdict on beating all rivals.

    Args:
        gains: How much better it is than each. All intervals have to be above 0, for which none
            needs a correction.
        at_most: Upper ends of intervals that hold for all rivals at once, since it is enough for
            the other verdict that one of them is small.
        scale: The smallest gain that would matter.
    """
    if all(gain.low > 0 for gain in gains):
        return SUPPORTED
    return NOT_SUPPORTED if any(high < scale for high in at_most) else OPEN
