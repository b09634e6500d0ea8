"""Prompt, gold answer and model answers of every document, from lm-eval's samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..files import cut_folder, invalid_sample, read_samples
from .answers import Answer, answer, gold, is_logged, prompt
from .data import CutName
from .lm_eval_files import RERUN, newest_samples


@dataclass
class Document:
    """A document and the answers under all cuts.

    Attributes:
        id: lm-eval's number of the document.
        prompt: The prompt.
        gold: The gold answer.
        answers: The distinct answers.
        answer_indices: For each cut, the index of its answer in ``answers``.
    """

    id: int
    prompt: str
    gold: str
    answers: list[Answer] = field(default_factory=list)
    answer_indices: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class DocumentSet:
    """The documents of a task with their answers.

    Attributes:
        cuts: The boundaries, ascending, then other cuts.
        documents: The documents, in lm-eval's order.
        comparable: Whether the metric is the mean of the answers' values. Only then can one answer
            be called better than another.
    """

    cuts: tuple[CutName, ...]
    documents: tuple[Document, ...]
    comparable: bool

    @property
    def binary(self) -> bool:
        """Whether every answer is right (1) or wrong (0)."""
        values = {answer.value for document in self.documents for answer in document.answers}
        return self.comparable and values <= {0.0, 1.0}


def read_documents(
    folder: Path, task: str, metric: str, values: Mapping[CutName, float | None]
) -> DocumentSet:
    """Read the samples of a task under every cut.

    Args:
        folder: Folder that contains ``boundary=K/`` and ``cut=CUT/``.
        task: The task.
        metric: lm-eval's key of the metric, ``metric,filter``.
        values: The metric over all documents, by cut.

    Raises:
        OutputError: Samples are missing or damaged, or cuts have different documents.
    """
    name, _, filter_name = metric.partition(",")
    documents: dict[int, Document] = {}
    comparable = True
    # boundaries ascending, then the others
    cuts = sorted(values, key=lambda cut: (isinstance(cut, str), cut))
    for position, cut in enumerate(cuts):
        path = newest_samples(cut_folder(folder, cut), task)
        scores: list[float | None] = []
        for place, sample in read_samples(path, RERUN):
            if sample.get("filter") != filter_name:
                continue
            if not is_logged(sample):
                raise invalid_sample(place, "its arguments or responses have another form", RERUN)
            number = sample["doc_id"]
            if position == 0:
                documents[number] = Document(number, prompt(sample), gold(sample))
            document = documents.get(number)
            if document is None or len(document.answer_indices) != position:
                raise _different_documents(path)
            given = answer(sample, name)
            scores.append(given.value)
            if given not in document.answers:
                document.answers.append(given)
            document.answer_indices.append(document.answers.index(given))
        if not scores or len(scores) != len(documents):
            raise _different_documents(path)
        comparable = comparable and _is_mean(values[cut], scores)
    return DocumentSet(tuple(cuts), tuple(documents.values()), comparable)


def _different_documents(path: Path) -> OutputError:
    return OutputError(
        f"{path}: expected the same documents as for the other boundaries, each document once; "
        f"{RERUN}"
    )


def _is_mean(value: float | None, scores: Sequence[float | None]) -> bool:
    """Return whether a task's value is the mean of its documents' scores."""
    # not so for perplexity: it is better if low, but its documents' log-likelihoods if high
    numbers = [score for score in scores if score is not None]
    if value is None or len(numbers) < len(scores):
        return False
    return math.isclose(value, float(np.mean(numbers)), rel_tol=1e-6, abs_tol=1e-9)
