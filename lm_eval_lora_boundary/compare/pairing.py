"""Pair two runs document by document."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import TaskError
from .runs import Run, TaskResult
from .scored import Document, Evidence, Scored


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of a model on a task, with a label for the model."""

    label: str
    run: Run
    result: TaskResult

    @property
    def name(self) -> str:
        """Label and results file, for error messages."""
        return f"{self.label} ({self.result.file})"


@dataclass(frozen=True)
class Pair:
    """Two runs and the documents that both answered.

    Attributes:
        ours: A run.
        theirs: The run to compare it with.
        documents: Their common documents, each once, in an order that does not depend on the runs.
    """

    ours: Scored
    theirs: Scored
    documents: tuple[Document, ...]

    @property
    def cluster(self) -> str | None:
        """The field that says which documents belong together, if they do."""
        known = [run.cluster for run in (self.ours, self.theirs) if run.clusters is not None]
        return known[0] if known else None

    @property
    def same_documents(self) -> bool:
        """Whether both runs answered exactly these documents, each once."""
        return all(len(run.samples) == len(self.documents) for run in (self.ours, self.theirs))


def check_comparable(task: str, entry: Entry, reference: Entry) -> list[str]:
    """Check what the results files say about two results of a task.

    Returns:
        Warnings about other differences.

    Raises:
        TaskError: The versions of the task differ; or nothing but the number of documents is known,
            and these differ.
    """
    ours, theirs = entry.result, reference.result
    if ours.version != theirs.version:
        raise TaskError(
            f"{task}: {entry.name} used version {ours.version} of the task and {reference.name} "
            f"version {theirs.version}; evaluate both with the same version"
        )
    without_samples = ours.samples is None or theirs.samples is None
    counts = {ours.documents, theirs.documents}
    if without_samples and None not in counts and len(counts) > 1:
        raise TaskError(
            f"{task}: {entry.name} answered {ours.documents} documents and {reference.name} "
            f"{theirs.documents}; evaluate both with --log_samples, or the same --limit"
        )
    if ours.generation != theirs.generation:
        return [f"{task}: {entry.label} and {reference.label} used different generation arguments"]
    return []


def pair(task: str, key: str, entry: Entry, reference: Entry, evidence: Evidence) -> Pair:
    """Pair the documents of two results by content and target.

    ``doc_id`` is only the place of a document in the split, so it is not asked for: runs with
    another ``--limit``, ``--samples``, order or numbering have common documents too.

    Raises:
        TaskError: A result has no samples of the metric, or they share no document.
        OutputError: A samples file is damaged.
    """
    ours, theirs = (evidence.scored(each.result, key) for each in (entry, reference))
    for each, scored in ((entry, ours), (reference, theirs)):
        if scored is None:
            raise TaskError(_without_samples(task, key, each, evidence))
    assert ours is not None and theirs is not None
    documents = tuple(sorted(ours.places.keys() & theirs.places.keys()))
    if not documents:
        contents = {content for content, _ in ours.places} & {c for c, _ in theirs.places}
        hint = f" ({len(contents)} have the same content, but another target)" if contents else ""
        raise TaskError(
            f"{task}: {entry.name} and {reference.name} share none of their {len(ours.places)} and "
            f"{len(theirs.places)} documents{hint}; evaluate both on the same split and revision "
            "of the data"
        )
    return Pair(ours, theirs, documents)


def pair_warnings(task: str, entry: Entry, reference: Entry, paired: Pair) -> list[str]:
    """Return what a reader must know about the documents of a pair."""
    names = f"{entry.label} and {reference.label}"
    ours, theirs, common = paired.ours, paired.theirs, len(paired.documents)
    warnings = []
    if not common == len(ours.places) == len(theirs.places):
        contents = {content for content, _ in ours.places} & {c for c, _ in theirs.places}
        others = len(contents) - len({content for content, _ in paired.documents})
        warnings.append(
            f"{task}: {names} share {common} of their {len(ours.places)} and "
            f"{len(theirs.places)} documents, and are compared on these"
            + (f"; {others} more have the same content, but another target" if others else "")
        )
    prompts = [
        [run.samples[run.places[document]].prompt_hash for document in paired.documents]
        for run in (ours, theirs)
    ]
    different = sum(bool(a and b) and a != b for a, b in zip(*prompts, strict=True))
    if different:
        warnings.append(
            f"{task}: {different} of {common} prompts differ between {names} (few-shot examples, "
            "chat template or system instruction)"
        )
    return warnings


def copies_warning(task: str, entry: Entry, scored: Scored) -> list[str]:
    """Warn about documents that are copies of others."""
    if not scored.copies:
        return []
    return [
        f"{task}: {scored.copies} of {len(scored.samples)} documents of {entry.label} are copies "
        "of others (the same content and target); lm-eval's value counts all of them, intervals "
        "and tests count each document once"
    ]


def clusters_warning(task: str, entry: Entry, scored: Scored) -> list[str]:
    """Warn if the field by which documents are to belong together does not tell."""
    kinds = {sample.cluster for sample in scored.samples}
    if scored.cluster is None or scored.clusters is not None or len(scored.places) < 2:
        return []
    if None in kinds:
        return [
            f"{task}: documents of {entry.label} lack {scored.cluster}, which says what belongs "
            "together, so all count as unrelated"
        ]
    if len(kinds) == 1:
        return [
            f"{task}: {scored.cluster} is the same in all {len(scored.samples)} documents of "
            f"{entry.label}, so they count as unrelated; if they do belong together, intervals are "
            "too narrow"
        ]
    return []


def _without_samples(task: str, key: str, entry: Entry, evidence: Evidence) -> str:
    """Say why a result cannot be paired."""
    reason = evidence.unusable(entry.result)
    if reason is not None:
        return f"{task}: the samples of {entry.name} cannot be used: {reason}; evaluate again"
    if entry.result.samples is not None:
        return f"{task}: the samples of {entry.name} have no {key}; evaluate again"
    # without the task, so that it is said once
    return (
        f"{entry.name} has no samples, which a paired comparison needs; evaluate with --log_samples"
    )
