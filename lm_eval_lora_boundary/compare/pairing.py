"""Check that two results are for the same task and the same documents."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import TaskError
from .resample import documents_of
from .runs import TaskResult
from .samples import Documents, SamplesFiles


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of a model on a task, with a label for the model."""

    label: str
    result: TaskResult

    @property
    def name(self) -> str:
        """Label and results file, for error messages."""
        return f"{self.label} ({self.result.file})"


def check_pair(
    task: str, key: str, entry: Entry, reference: Entry, files: SamplesFiles, *, need_samples: bool
) -> list[str]:
    """Check that two results are for the same task and the same documents.

    Returns:
        Warnings about other differences.

    Raises:
        TaskError: The task versions or the documents differ, or ``need_samples`` is set and one
            of the results has no samples.
    """
    ours, theirs = entry.result, reference.result
    if ours.version != theirs.version:
        raise TaskError(
            f"{task}: {entry.name} used version {ours.version} of the task and {reference.name} "
            f"version {theirs.version}; evaluate both with the same version"
        )
    without_samples = [e for e in (entry, reference) if e.result.samples is None]
    if without_samples and need_samples:
        raise TaskError(
            f"{task}: {without_samples[0].name} has no samples, which a paired comparison needs; "
            "evaluate with --log_samples, or compare without --baseline"
        )
    warnings = []
    if without_samples:
        _check_counts(task, entry, reference)
    else:
        docs, others = (documents_of(result, key, files) for result in (ours, theirs))
        _check_documents(task, entry, docs, reference, others)
        different = sum(docs[i].prompt_hash != others[i].prompt_hash for i in docs)
        if different:
            warnings.append(
                f"{task}: {different} of {len(docs)} prompts differ between {entry.label} and "
                f"{reference.label} (few-shot examples, chat template or system instruction)"
            )
    if ours.generation != theirs.generation:
        warnings.append(
            f"{task}: {entry.label} and {reference.label} used different generation arguments"
        )
    return warnings


def _check_counts(task: str, entry: Entry, reference: Entry) -> None:
    """Check the number of documents, where nothing else is known about them."""
    ours, theirs = entry.result.documents, reference.result.documents
    if None not in (ours, theirs) and ours != theirs:
        raise TaskError(
            f"{task}: {entry.name} answered {ours} documents and {reference.name} {theirs}; "
            "evaluate both with the same --limit or --samples"
        )


def _check_documents(
    task: str, entry: Entry, ours: Documents, reference: Entry, theirs: Documents
) -> None:
    """Check that documents have the same numbers, contents and targets."""
    if ours.keys() != theirs.keys():
        raise TaskError(
            f"{task}: {entry.name} answered {len(ours)} documents and {reference.name} "
            f"{len(theirs)}, of which they share {len(ours.keys() & theirs.keys())}; the first "
            f"that only one answered is doc_id {min(ours.keys() ^ theirs.keys())}; evaluate both "
            "with the same --limit or --samples"
        )
    contents = {i for i in ours if ours[i].doc_hash != theirs[i].doc_hash}
    targets = {i for i in ours if ours[i].target_hash != theirs[i].target_hash}
    if different := contents | targets:
        first = min(different)
        raise TaskError(
            f"{task}: {len(different)} of {len(ours)} documents differ between {entry.name} and "
            f"{reference.name}; the first is doc_id {first} (its "
            f"{'content' if first in contents else 'target'}); evaluate both on the same split and "
            "revision of the data"
        )
