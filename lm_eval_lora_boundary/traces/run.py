"""The flow of a trace, from settings to ``trace.json``.

lm-eval builds the requests, which hold the prompts; the tasks hold the gold answers. Then every
model (whole adapter, base model, other boundaries) runs once over prompts and answers. If a
gradient is asked for, the whole adapter also runs forward and back at several strengths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..cuts.keep import Cut
from ..errors import ModelError, TaskError
from ..files import PLOTS, TRACE, TRACED_FULL, file_name, lock, write_text
from ..harness import processes
from ..harness.display import counting
from ..harness.evaluation import Evaluation
from ..harness.own_data.request import OwnData, own_data
from ..harness.own_data.shown import notes, own_tasks
from ..harness.run_folder import refuse_other_trace
from ..harness.signature import describe_run, signature
from ..harness.sweep_model import load
from ..harness.tasks import LoadedTasks, find_tasks, task_manager
from ..report.gradient_plots import plot_gradient
from ..report.trace_plots import plot_curves, plot_heatmap
from .candidate import find_candidate
from .curves import document_row, gradient_row, layer_rows, median_document, whole_answers
from .gold import Gold, GoldAnswers, gold_answers, refuse_perplexity
from .gradient import Differentiator, Gradient, measure
from .layer_map import Measured, layer_map
from .lm import TraceLM
from .reader import Reader, Reading
from .settings import TraceSettings

Readings = dict[str, list[Reading]]  # by name of the model


def run(
    settings: TraceSettings,
    output: Path,
    *,
    model: PreTrainedModel | None = None,
    prints_notes: bool = True,
    force: bool = False,
) -> dict[str, Any]:
    """Trace the gold answers of tasks and write the results.

    Args:
        settings: The trace.
        output: Folder to write; its other files stay.
        model: The base model, if it is loaded already; it is changed.
        prints_notes: Print the notes, which are in ``trace.json`` in any case.
        force: Replace another trace in the folder, and allow that of another sweep beside it.

    Returns:
        The content of ``trace.json``.

    Raises:
        LoraBoundaryError: The settings, the model, the tasks or the folder cannot be used; its
            subclass tells which.
    """
    processes.refuse_several("trace")
    if not force:
        refuse_other_trace(output, settings.as_json())
    own = own_data(settings)
    manager: Any = None  # lm-eval's tasks take a few seconds to list
    names: Sequence[str] = ()
    if own is None:
        manager = task_manager(settings.include_path, settings.model_arguments())
        names = find_tasks(manager, settings.tasks)
    with closing(lock(output, ".trace-lock")):
        return _run(own, manager, names, settings, output, model, prints_notes)


def _run(
    own: OwnData | None,
    manager: Any,
    names: Sequence[str],
    settings: TraceSettings,
    output: Path,
    model: PreTrainedModel | None,
    prints_notes: bool,
) -> dict[str, Any]:
    """Trace tasks that exist, in a folder that is locked."""
    if own is None:
        tasks = LoadedTasks(manager, names, settings.split, settings.documents)
        for name, task in tasks.tasks.items():
            refuse_perplexity(name, task)
    lm = load(TraceLM, settings, model)
    lm.prints_notes = prints_notes
    if own is not None:
        manager = own_tasks(own, lm, settings, shows=prints_notes)
        tasks = LoadedTasks(manager, [own.name], settings.split, settings.documents)
    models = settings.models(lm.layers)
    lm.check(list(models.values()))
    differentiator = Differentiator(lm) if settings.gradient else None
    Evaluation(lm, tasks, settings).at(lm.cut.current, predict_only=True)
    chat = bool(settings.apply_chat_template)
    answers = {name: gold_answers(lm, name, task, chat=chat) for name, task in tasks.tasks.items()}
    for name, found in answers.items():
        _check_document(name, found.documents, settings.document)
    entries: dict[str, Any] = {}
    for name, found in answers.items():
        with _of_task(name):
            readings = _read(lm, name, found.documents, models, settings.batch_size)
        entries[name] = _entry(found, readings)
        lines = _document_lines(lm, found.documents, readings, settings)
        if differentiator is not None:
            with _of_task(name):
                gradients = _differentiate(differentiator, name, found.documents, settings)
                measured = _measure(lm, name, found.documents, settings)
            entries[name]["gradient"] = layer_map(gradients, measured)
            for number, (line, gradient) in enumerate(zip(lines, gradients, strict=True)):
                line["gradient"] = gradient_row(gradient, measured, number)
        _write_documents(name, lines, output)
        _plot(lm, name, entries[name], found.documents, readings[TRACED_FULL], settings, output)
    summary = {
        "signature": signature(
            describe_run(lm, settings), settings, tasks, "trace", settings.requested()
        ),
        "settings": settings.as_json(),
        "notes": [*lm.notes, *notes(own)],
        "tasks": entries,
    }
    if own is not None:
        summary["data"] = own.facts
    write_text(output / TRACE, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


@contextmanager
def _of_task(name: str) -> Iterator[None]:
    """Say which task an error is about."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _check_document(name: str, documents: Sequence[Gold], doc_id: int | None) -> None:
    """Refuse to draw a document that is not traced."""
    numbers = [each.doc_id for each in documents]
    if doc_id is not None and doc_id not in numbers:
        raise TaskError(
            f"document={doc_id} is not among the {len(numbers)} traced documents of {name}; "
            f"expected one of {min(numbers)} to {max(numbers)}"
        )


def _read(
    lm: TraceLM,
    name: str,
    documents: Sequence[Gold],
    models: Mapping[str, Cut],
    rows: int | None,
) -> Readings:
    """Run every model over the documents of a task."""
    reader = Reader(lm)
    reader.check(documents)
    readings: Readings = {}
    total = len(documents) * len(models)
    with lm.cut, counting(f"{name}: trace", total) as done:
        for label, cut in models.items():
            lm.cut.move(cut)
            readings[label] = reader.read(documents, rows, done)
    return readings


def _differentiate(
    differentiator: Differentiator,
    name: str,
    documents: Sequence[Gold],
    settings: TraceSettings,
) -> list[Gradient]:
    """Compute the gradients of the documents of a task."""
    differentiator.check(documents)
    with counting(f"{name}: gradient", len(documents)) as done:
        return differentiator.read(documents, settings.batch_size, done)


def _measure(
    lm: TraceLM, name: str, documents: Sequence[Gold], settings: TraceSettings
) -> Measured | None:
    """Measure what a gradient predicts, if that is asked for."""
    if not settings.measure:
        return None
    without, upper = Measured.cuts(lm.layers)
    cuts = list(dict.fromkeys([*without, *upper]))
    total = len(documents) * len(cuts)
    with counting(f"{name}: measured map", total) as done:
        values = measure(lm, documents, cuts, settings.batch_size, done)
    return Measured.of(values, lm.layers)


def _entry(answers: GoldAnswers, readings: Readings) -> dict[str, Any]:
    """Return what ``trace.json`` says about a task."""
    rows = {label: layer_rows(found) for label, found in readings.items()}
    candidate = find_candidate(whole_answers(readings[TRACED_FULL]))
    return {
        "documents": len(answers.documents),
        "skipped": answers.skipped,
        "truncated_prompts": answers.truncated,
        "layers": rows[TRACED_FULL],
        "models": rows,
        "candidate": candidate.layer,
        "candidate_low": candidate.low,
        "candidate_high": candidate.high,
        "share": candidate.share,
        "verdict": candidate.verdict,
    }


def _tokens(lm: TraceLM, document: Gold, settings: TraceSettings) -> list[str]:
    """Return the texts of the gold answer's tokens, or their numbers if texts are left out."""
    if settings.no_texts:
        return [str(number) for number in range(1, len(document.answer) + 1)]
    return [lm.tok_decode([token], skip_special_tokens=False) for token in document.answer]


def _document_lines(
    lm: TraceLM, documents: Sequence[Gold], readings: Readings, settings: TraceSettings
) -> list[dict[str, Any]]:
    """Return the readings of a task, one document a line."""
    return [
        {
            "doc_id": document.doc_id,
            "doc_hash": document.doc_hash,
            "tokens": _tokens(lm, document, settings),
            "models": {label: document_row(found[i]) for label, found in readings.items()},
        }
        for i, document in enumerate(documents)
    ]


def _write_documents(name: str, lines: Sequence[Mapping[str, Any]], output: Path) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(output / f"trace_documents_{file_name(name)}.jsonl", text)


def _plot(
    lm: TraceLM,
    name: str,
    entry: Mapping[str, Any],
    documents: Sequence[Gold],
    readings: Sequence[Reading],
    settings: TraceSettings,
    output: Path,
) -> None:
    """Draw the curves of a task, one of its documents, and its gradient if there is one."""
    if settings.document is None:
        number = median_document(readings)
    else:
        number = [each.doc_id for each in documents].index(settings.document)
    folder = output / PLOTS / file_name(name)
    chosen = documents[number]
    plot_curves(entry, folder)
    for old in folder.glob("gradient.*"):  # of an earlier trace, perhaps of other documents
        old.unlink(missing_ok=True)
    if "gradient" in entry:
        plot_gradient(entry["gradient"], folder)
    probability = readings[number].probability.tolist()
    plot_heatmap(chosen.doc_id, _tokens(lm, chosen, settings), probability, folder)
