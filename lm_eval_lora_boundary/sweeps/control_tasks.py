"""Control tasks: what the same cuts do elsewhere.

An adapter that was trained for one task may cost something on others, and a cut may give some of
that back. Edits of adapters are judged by it (LiNeS, arXiv 2410.17146; WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cuts.keep import Cut
from ..files import CONTROL
from ..harness.evaluation import Evaluation
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks
from ..report.formatting import number
from ..stats.permutation import LEVEL
from ..stats.scores import Name
from .found import Split
from .output_folder import remove_folder, remove_others
from .phrases import answer, compared, the
from .scheduler import Scheduler
from .scores import score
from .settings import SweepSettings
from .summary import described, rows_of

BEST_ON_CONTROL = "best_on_control"
_QUESTION = "Which cut is best on {task} among those that keep the gain?"


def score_controls(
    lm: SweepLM,
    controls: LoadedTasks | None,
    settings: SweepSettings,
    scheduler: Scheduler,
    cuts: Sequence[Cut],
    output: Path,
) -> dict[str, Any]:
    """Score the control tasks under the cuts of a sweep.

    Returns:
        What ``sweep.json`` says about each of them.
    """
    folder = output / CONTROL
    if controls is None:
        remove_folder(folder)
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    scored = score(Evaluation(lm, controls, settings), scheduler, cuts, folder, None)
    remove_others(folder, cuts)
    return {
        name: {
            "metric": scores.metric.key,
            "higher_is_better": scores.metric.higher_is_better,
            **described(scores, lm.layers - 1, controls.splits[name], controls.clusters[name]),
        }
        for name, scores in scored.tasks.items()
    }


def with_controls(
    decided: Mapping[str, Any], controls: Mapping[str, Any], full: int
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task, with an answer for each control task.

    Args:
        decided: What it says without.
        controls: What :func:`score_controls` returned.
        full: The boundary that keeps the whole adapter.
    """
    if decided["not_chosen"] or not controls:
        return dict(decided)
    keeping: list[Name] = [*decided["noninferior"], full]  # what is shown on the test split
    more = {
        f"{BEST_ON_CONTROL}:{task}": _answer(task, entry, keeping, full)
        for task, entry in controls.items()
    }
    return {**decided, "answers": {**decided["answers"], **more}}


def _answer(
    task: str, entry: Mapping[str, Any], keeping: Sequence[Name], full: int
) -> dict[str, Any]:
    """Return which of the cuts that keep the gain is the best on a control task."""
    rows = dict(rows_of(entry))
    split = Split(entry["split"], entry["documents"], entry["documents"], rows)
    sign = 1 if entry["higher_is_better"] else -1
    question = _QUESTION.format(task=task)
    known = [name for name in keeping if name in rows and rows[name]["value"] is not None]
    if full not in known:
        why = f"the whole adapter has no score on {task}."
        return {"question": question, **answer(split, why, cut=None)}
    best = max(known, key=lambda name: sign * rows[name]["value"])
    metric = entry["metric"].removesuffix(",none")
    whole, base = rows[full], rows.get(-1)
    ends = f"{metric} {number(whole['value'])} with the whole adapter"
    if base is not None:
        ends += f" and {number(base['value'])} with the base model"
    if best == full:
        others = len(known) - 1
        why = (
            "no smaller cut is shown to keep the gain"
            if not others
            else f"no smaller cut that keeps the gain scores better ({others} compared)"
        )
        sentence = f"The whole adapter: {why}; {ends}."
        return {"question": question, **answer(split, sentence, cut=full)}
    row = rows[best]
    interval, p = (row["simultaneous_low"], row["simultaneous_high"]), row["p_simultaneous"]
    shown = p is not None and p <= 1 - LEVEL
    scores = (
        f"{the(best, full)} has {number(row['value'])} on {split.counted}, against {ends}: "
        f"{compared(row['delta_full'], *interval, p)}, corrected for all cuts"
    )
    sentence = f"{'' if shown else f'Not shown with {split.counted}: '}{scores}."
    found = answer(split, sentence, row["delta_full"], interval, p, shown=shown, cut=best)
    return {"question": question, **found}
