"""Some gold answers and responses as they are compared, where a sweep measured nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..files import cut_folder, read_samples
from .answers import gold, is_logged
from .data import CutName
from .lm_eval_files import RERUN, newest_samples

_MOST = 3
_LONGEST = 240
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})


@dataclass(frozen=True)
class Example:
    """A gold answer and a response, with spaces at their ends made visible.

    Attributes:
        document: lm-eval's number of the document.
        gold: The gold answer.
        response: The response.
        extracted: What a filter made of the response; None if it is the same.
    """

    document: int
    gold: str
    response: str
    extracted: str | None


def read_examples(folder: Path, task: str, metric: str, cut: CutName) -> tuple[Example, ...]:
    """Return the first documents of a task that generates text; none for other tasks.

    Args:
        folder: Folder of the sweep.
        task: The task.
        metric: lm-eval's key of the metric.
        cut: The cut whose responses to show.

    Raises:
        OutputError: Samples are missing or damaged.
    """
    filter_name = metric.partition(",")[2]
    samples = (
        sample
        for _, sample in read_samples(newest_samples(cut_folder(folder, cut), task), RERUN)
        if sample.get("filter") == filter_name and is_logged(sample)
    )
    found = []
    for sample in islice(samples, _MOST):
        responses, compared = sample.get("resps") or [[]], sample.get("filtered_resps") or []
        given = [*responses[0][:1], *compared[:1]]
        if len(given) < 2 or not all(isinstance(each, str) for each in given):
            return ()
        response, extracted = map(_shown, given)
        same = given[0].strip() == given[1].strip()
        found.append(
            Example(
                sample["doc_id"],
                _shown(gold(sample)),
                extracted if same else response,
                None if same else extracted,
            )
        )
    return tuple(found)


def _shown(text: str) -> str:
    """Return a text whose spaces at both ends can be seen."""
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    middle = text.strip()
    start = text[: len(text) - len(text.lstrip())]
    end = text[len(start) + len(middle) :]
    return f"{start.translate(_VISIBLE)}{middle}{end.translate(_VISIBLE)}"
