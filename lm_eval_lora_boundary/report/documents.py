"""Every document's prompt, gold and answers, from lm-eval's samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..files import boundary_folder
from .answers import Answer, answer, gold, prompt
from .lm_eval_files import lines, newest_samples


@dataclass
class Document:
    """A document and its answers.

    Attributes:
        id: lm-eval's number of the document.
        prompt: What the model was given.
        gold: What it should answer.
        answers: The distinct answers.
        which: For each boundary of the set, the position of its answer in ``answers``.
    """

    id: int
    prompt: str
    gold: str
    answers: list[Answer] = field(default_factory=list)
    which: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class DocumentSet:
    """The documents of a task, answered under the same boundaries.

    Attributes:
        boundaries: The boundaries, ascending.
        documents: The documents, in lm-eval's order.
        comparable: Whether the metric is the mean of the answers' values, so that one answer
            can be called better than another.
    """

    boundaries: tuple[int, ...]
    documents: tuple[Document, ...]
    comparable: bool

    @property
    def binary(self) -> bool:
        """Whether every answer is right (1) or wrong (0)."""
        values = {each.value for document in self.documents for each in document.answers}
        return self.comparable and values <= {0.0, 1.0}


def read_documents(
    folder: Path, task: str, metric: str, values: Mapping[int, float | None]
) -> DocumentSet:
    """Read the samples of a task under every boundary.

    Args:
        folder: Folder that holds ``boundary=K/``.
        task: The task.
        metric: lm-eval's key of the metric: name, comma, filter.
        values: The metric over all documents, by boundary.

    Raises:
        OutputError: Samples are missing, broken, or not of the same documents.
    """
    name, _, filter_name = metric.partition(",")
    documents: dict[int, Document] = {}
    comparable = True
    for position, boundary in enumerate(sorted(values)):
        path = newest_samples(boundary_folder(folder, boundary), task)
        found: list[float | None] = []
        for sample in lines(path):
            if sample.get("filter") != filter_name:
                continue
            number = sample["doc_id"]
            if position == 0:
                documents[number] = Document(number, prompt(sample), gold(sample))
            document = documents.get(number)
            if document is None or len(document.which) != position:
                raise _other_documents(path)
            given = answer(sample, name)
            found.append(given.value)
            if given not in document.answers:
                document.answers.append(given)
            document.which.append(document.answers.index(given))
        if not found or len(found) != len(documents):
            raise _other_documents(path)
        comparable = comparable and _is_mean(values[boundary], found)
    return DocumentSet(tuple(sorted(values)), tuple(documents.values()), comparable)


def _other_documents(path: Path) -> OutputError:
    return OutputError(
        f"{path} does not hold each document of the other boundaries once; "
        "run the same sweep again, which resumes"
    )


def _is_mean(value: float | None, found: Sequence[float | None]) -> bool:
    """Return whether a task's value is the mean of its documents' values."""
    # a perplexity, say, is better when it is small, but its documents' log-likelihoods are not
    numbers = [each for each in found if each is not None]
    if value is None or len(numbers) < len(found):
        return False
    return math.isclose(value, float(np.mean(numbers)), rel_tol=1e-6, abs_tol=1e-9)
