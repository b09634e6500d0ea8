"""The documents of a task as JSON embedded in the page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from .answers import common_start
from .data import BASE, CutName, TaskFound
from .documents import DocumentSet
from .formatting import metric_name, named

# characters that could close the script element, start a comment, or end a line in JavaScript; and
# lone surrogates, which models do generate and UTF-8 cannot encode
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
COLUMNS = 4


def encode(content: Any) -> str:
    """Return JSON that is safe inside a ``script`` element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def payload(task: TaskFound, full: int | None, sets: Sequence[tuple[str, DocumentSet]]) -> Any:
    """Return the per-document view of a task, with name and documents of each split."""
    return {
        "metric": metric_name(task.metric),
        "higher": task.higher_is_better,
        "sets": [_set(task, full, name, found) for name, found in sets],
    }


def _set(task: TaskFound, full: int | None, name: str, found: DocumentSet) -> dict[str, Any]:
    cuts = found.cuts
    boundaries = [cut for cut in cuts if isinstance(cut, int)]
    reference = full if full is not None and full in boundaries else boundaries[-1]
    # store instructions and examples that all prompts begin with only once
    prefix = common_start([document.prompt for document in found.documents])
    return {
        "name": name,
        "boundaries": boundaries,  # the first of the cuts
        "names": [_label(task, full, each) for each in cuts],
        "reference": cuts.index(reference),
        "reference_name": named(reference, full),
        "filter": "all" if task.not_chosen else "changed",
        "focus": cuts.index(_focus(task, cuts, reference)),
        "columns": [cuts.index(each) for each in _columns(task, cuts, reference)],
        "comparable": found.comparable,
        "binary": found.binary,
        "prefix": prefix,
        "documents": [
            {
                "id": document.id,
                "prompt": document.prompt[len(prefix) :],
                "gold": document.gold,
                "answers": [
                    [a.text, a.value] if a.extracted is None else [a.text, a.value, a.extracted]
                    for a in document.answers
                ],
                "which": document.answer_indices,
            }
            for document in found.documents
        ],
    }


def _label(task: TaskFound, full: int | None, cut: CutName) -> str:
    """Return the name of a column."""
    parts = [named(cut, full)]
    if task.not_chosen is None:
        if cut == task.choice:
            parts.append("recommended")
        elif cut == task.best:
            parts.append("best score")
        elif cut == task.smallest_noninferior:
            parts.append("keeps the gain")
    return " · ".join(parts)


def _focus(task: TaskFound, cuts: Sequence[CutName], reference: int) -> CutName:
    """Return the cut to compare with the reference at first."""
    wanted = (task.choice, task.best, task.smallest_noninferior, BASE, cuts[0])
    others = [each for each in cuts if each != reference]
    return next((each for each in wanted if each is not None and each in others), reference)


def _columns(task: TaskFound, cuts: Sequence[CutName], reference: int) -> list[CutName]:
    """Return the cuts to show at first, in their order."""
    wanted = {BASE, task.choice, _focus(task, cuts, reference), reference}
    return [cut for cut in cuts if cut in wanted][:COLUMNS]
