"""Whether two results are of the same task on the same documents."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import TaskError
from .resample import documents_of
from .runs import TaskResult
from .samples import Documents, SamplesFiles


@dataclass(frozen=True, eq=False)
class Entry:
    """Results of a model on a task.

    Attributes:
        label: What to call the model.
        result: The results.
    """

    label: str
    result: TaskResult

    @property
    def name(self) -> str:
        """What an error calls it: the label and the file."""
        return f"{self.label} ({self.result.file})"


def check_pair(
    task: str, key: str, entry: Entry, reference: Entry, files: SamplesFiles, *, samples: bool
) -> list[str]:
    """Refuse to compare two results that are not of the same task on the same documents.

    Args:
        task: The task.
        key: lm-eval's key of the metric, ``metric,filter``.
        entry: The results of a model.
        reference: The results that they are compared with.
        files: Reads samples.
        samples: Whether both must have samples.

    Returns:
        Lines about other differences, which a reader must know to judge the numbers.

    Raises:
        TaskError: Version of the task or documents differ, or samples are needed and missing.
    """
    ours, theirs = entry.result, reference.result
    if ours.version != theirs.version:
        raise TaskError(
            f"{task}: {entry.name} has version {ours.version} of the task and {reference.name} "
            f"version {theirs.version}; evaluate both with the same"
        )
    lacking = [each for each in (entry, reference) if each.result.samples is None]
    if lacking and samples:
        raise TaskError(
            f"{task}: {lacking[0].name} has no samples, which pairing with a baseline needs; "
            "evaluate with --log_samples, or compare without --baseline"
        )
    warnings = []
    if lacking:
        _check_counts(task, entry, reference)
    else:
        us, them = (documents_of(each, key, files) for each in (ours, theirs))
        _check_documents(task, entry, us, reference, them)
        different = sum(us[i].prompt_hash != them[i].prompt_hash for i in us)
        if different:
            warnings.append(
                f"{task}: {different} of {len(us)} prompts differ between {entry.label} and "
                f"{reference.label} (few-shot examples, chat template or instruction)"
            )
    if ours.generation != theirs.generation:
        warnings.append(
            f"{task}: {entry.label} and {reference.label} had different generation arguments"
        )
    return warnings


def _check_counts(task: str, entry: Entry, reference: Entry) -> None:
    """Refuse another number of documents, where nothing more is known of them."""
    ours, theirs = entry.result.documents, reference.result.documents
    if None not in (ours, theirs) and ours != theirs:
        raise TaskError(
            f"{task}: {entry.name} answered {ours} documents and {reference.name} {theirs}. "
            "Evaluate both with the same --limit or --samples"
        )


def _check_documents(
    task: str, entry: Entry, ours: Documents, reference: Entry, theirs: Documents
) -> None:
    """Refuse other documents, by number, content and expected answer."""
    if ours.keys() != theirs.keys():
        raise TaskError(
            f"{task}: {entry.name} answered {len(ours)} documents and {reference.name} "
            f"{len(theirs)}, {len(ours.keys() & theirs.keys())} of them the same; the first that "
            f"only one answered is doc_id {min(ours.keys() ^ theirs.keys())}. Evaluate both with "
            "the same --limit or --samples"
        )
    contents = [i for i in sorted(ours) if ours[i].doc_hash != theirs[i].doc_hash]
    targets = [i for i in sorted(ours) if ours[i].target_hash != theirs[i].target_hash]
    if contents or targets:
        different = sorted({*contents, *targets})
        what = "content" if different[0] in contents else "target"
        raise TaskError(
            f"{task}: {len(different)} of {len(ours)} documents differ between {entry.name} and "
            f"{reference.name}, the first is doc_id {different[0]} (its {what}). Evaluate both on "
            "the same split and revision of the data"
        )
