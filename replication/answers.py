"""What a cut changes in the answers, in numbers and without any of their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm_eval_lora_boundary.report.formatting import metric_name, number

from .cuts import WHOLE, two_thirds
from .metrics import LENGTHS, Record, scores
from .study import Seed, Study
from .text import kept

LONG = 3  # times the gold answer's words


@dataclass(frozen=True)
class Long:
    """Answers that are far too long, and scores without them.

    A small model repeats itself. A cut that only makes it stop then looks better.

    Attributes:
        by_cut: Number of such answers of the cut.
        by_whole: Number of such answers of the whole adapter.
        documents: Number of documents on which neither has one.
        cut: The cut's score on these documents; None if there are none, or all are such.
        whole: The score of the whole adapter on them.
    """

    by_cut: int
    by_whole: int
    documents: int
    cut: float | None
    whole: float | None


def long_answers(task: Record, metric: str, cut: str) -> Long:
    """Return what remains of a difference where neither answer is far too long.

    Args:
        task: The scores.
        metric: The metric's key.
        cut: What is compared with the whole adapter.
    """
    long = [
        found[:, 0] > LONG * np.maximum(1, found[:, 1])
        for found in (_words(task, cut), _words(task, WHOLE))
    ]
    left = ~(long[0] | long[1])
    mine = whole = None
    if left.any() and not left.all():
        found = scores(task, metric, [cut, WHOLE]).resample(left[None, :].astype(int))[0]
        mine, whole = float(found[0]), float(found[1])
    return Long(int(long[0].sum()), int(long[1].sum()), int(left.sum()), mine, whole)


def what_changes(study: Study) -> str:
    """Return what the best boundary, or one at two thirds of the layers, changes in the answers."""
    found = [
        f"- {data.title}, seed {seed.seed}: {_changes(seed)}"
        for data, seeds in study.having("choose", "test")
        for seed in seeds
    ]
    return "\n".join(found) if found else "Not run yet."


def _changes(seed: Seed) -> str:
    cut = seed.best()
    if cut == WHOLE:
        cut = two_thirds(seed.layers)
    task, metric = seed.task("test"), seed.data.metrics[0]
    responses = task["responses"]
    same = sum(a == b for a, b in zip(responses[cut], responses[WHOLE], strict=True))
    ours, theirs = (_words(task, each_cut)[:, 0] for each_cut in (cut, WHOLE))
    ends = np.percentile(ours - theirs, [25, 75])
    low, high = (f"{end:g}".replace("-", "−") for end in ends)
    middle = f"is {low}" if low == high else f"lies between {low} and {high}"
    parts = [
        f"with {kept(cut)}, {same} of {len(responses[cut])} answers {'is' if same == 1 else 'are'} "
        f"identical to the whole adapter's; {int((ours > theirs).sum())} are longer and "
        f"{int((ours < theirs).sum())} shorter. They average {ours.mean():.1f} words instead of "
        f"{theirs.mean():.1f}; the middle half of the differences {middle} words."
    ]
    if task["metrics"][metric]["kind"] == "mean":
        change = np.array(_values(task, metric, cut)) - np.array(_values(task, metric, WHOLE))
        parts.append(
            f"{metric_name(metric)} rises on {_documents(change > 0)} and falls on "
            f"{_documents(change < 0)}; the largest rise is {number(float(change.max()))}, the "
            f"largest fall {number(float(-change.min()))}."
        )
    long = long_answers(task, metric, cut)
    parts.append(
        f"{long.by_cut} answer{' has' if long.by_cut == 1 else 's have'} more than {LONG} times as "
        f"many words as the gold answer, against {long.by_whole} of the whole adapter's."
    )
    if long.cut is not None and long.whole is not None:
        parts.append(
            f"On the {long.documents} documents without such an answer, {metric_name(metric)} is "
            f"{number(long.cut)}, and {number(long.whole)} with the whole adapter."
        )
    return " ".join(parts)


def _documents(chosen: np.ndarray) -> str:
    """Return how many documents were chosen, as text."""
    count = int(chosen.sum())
    return f"{count} document{'' if count == 1 else 's'}"


def _words(task: Record, cut: str) -> np.ndarray:
    """Return the numbers of words of answers and gold answers, shape (documents, 2)."""
    return np.array(task["metrics"][LENGTHS]["cuts"][cut]["documents"])


def _values(task: Record, metric: str, cut: str) -> Sequence[float]:
    documents: Sequence[float] = task["metrics"][metric]["cuts"][cut]["documents"]
    return documents
