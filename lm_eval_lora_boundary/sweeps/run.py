"""The flow of a sweep, from settings to ``sweep.json``.

lm-eval builds the requests, an engine answers each of them under every boundary, the answers are
stored, and lm-eval itself scores each boundary from the stored answers. Then the scores are
compared, and everything is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel

from ..cuts.boundaries import parse_boundaries
from ..errors import ModelError, TaskError
from ..files import SWEEP, write_text
from ..harness import processes
from ..harness.evaluation import Evaluation
from ..harness.signature import describe_run, identity, signature
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks, find_tasks, task_manager
from ..report.write import write_report
from ..stats.recommendation import advise
from .candidates import traced_boundaries
from .confirmation import confirm, usable
from .engines import find_engines, load_model
from .output_folder import clean_up, remove_other_confirmations, remove_others
from .plan import Plan, before
from .progress import Progress
from .race import finalists, race_summary, run_race
from .save import save
from .scheduler import Scheduler
from .scores import check_metric, score
from .settings import SweepSettings
from .store import AnswerStore
from .summary import summarise_tasks
from .worker import Load, Worker

logger = logging.getLogger("lm_eval.lora_boundary")


def run(
    settings: SweepSettings, output: Path, *, model: PreTrainedModel | None = None
) -> dict[str, Any]:
    """Score every boundary and write what was found.

    Under ``accelerate launch``, all processes call this and answer requests together; the first
    of them does everything else.

    Args:
        settings: The sweep.
        output: Folder to write; the same call again resumes in it.
        model: The base model, if it is loaded already; it is changed.

    Returns:
        The content of ``sweep.json``, in every process.

    Raises:
        LoraBoundaryError: The settings, the model, the tasks or the folder cannot be used; its
            subclass tells which.
    """
    _refuse_tensor_parallel(settings)
    traced = None
    if settings.candidates == "trace":
        traced = traced_boundaries(settings, output, model)
    with closing(Worker(settings, output, lambda: load_model(settings, model))) as worker:
        return processes.together(lambda: _run(settings, output, model, traced), worker.obey)


def _run(
    settings: SweepSettings, output: Path, model: PreTrainedModel | None, traced: str | None
) -> dict[str, Any]:
    """Run the sweep; the other processes only answer requests."""
    manager = task_manager(settings.include_path, settings.model_arguments())
    names = find_tasks(manager, settings.tasks)
    with ExitStack() as scope:
        store = scope.enter_context(closing(AnswerStore(output)))
        clean_up(output)
        # requests
        lm = processes.command(Load(), lambda _: load_model(settings, model))
        boundaries = _boundaries(lm, settings, traced)
        tasks = _load(manager, names, settings)
        evaluation = Evaluation(lm, tasks, settings)
        # answers
        engines = scope.enter_context(closing(find_engines(lm, settings.engine)))
        facts = describe_run(lm, settings)
        progress = Progress(lambda text: len(lm.tok_encode(text)))
        scheduler = Scheduler(engines, store, identity(facts), settings.batch_size, progress)
        # scores
        ends = (-1, lm.layers - 1)  # what every other boundary is compared with
        race = None
        if settings.race:
            race = run_race(evaluation, scheduler, boundaries, settings, ends)
        in_full = finalists(race, ends) if race else boundaries
        scored = score(evaluation, scheduler, in_full, output, settings.metric)
        remove_others(output, in_full)
        # decision
        found = summarise_tasks(tasks, scored, lm.layers - 1, race)
        if settings.confirm:
            found = confirm(lm, tasks, settings, scheduler, output, found)
        full = lm.layers - 1
        found = {
            task: entry | {"choice": advise(entry, full).boundary} for task, entry in found.items()
        }
        remove_other_confirmations(output, [task for task in found if found[task]["test"]])
        # files
        how = f"engine {engines.name}"
        summary: dict[str, Any] = {
            "signature": signature(facts, settings, tasks, how, settings.asked(traced)),
            "settings": settings.as_json(),
            "engine": engines.name,
            "layers": lm.layers,
            "tasks": found,
        }
        if scored.groups:
            groups = scored.groups.items()
            summary["groups"] = {name: {"boundaries": rows} for name, rows in groups}
        if race:
            summary["race"] = race_summary(race, settings, ends)
        write_text(output / SWEEP, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        write_report(output)
        if settings.save:
            save(lm, summary, settings)
    return summary


def plan(settings: SweepSettings, output: Path) -> str:
    """Return what a sweep would do, as text; writes nothing.

    Raises:
        LoraBoundaryError: As :func:`run`.
    """
    _refuse_tensor_parallel(settings)
    return processes.together(lambda: _plan(settings, output), lambda _: None)


def _plan(settings: SweepSettings, output: Path) -> str:
    manager = task_manager(settings.include_path, settings.model_arguments())
    names = find_tasks(manager, settings.tasks)
    lm = load_model(settings)
    boundaries = _boundaries(lm, settings, None)
    engines = find_engines(lm, settings.engine)
    counted = Plan()
    tasks = _load(manager, names, settings)
    Evaluation(lm, tasks, settings).at(boundaries[0], counted.note, predict_only=True)
    lines = [*before(settings), counted.describe(lm, engines, boundaries, settings.batch_size)]
    if settings.race:
        lines.append("a race drops some of the boundaries on the way, if the metric is a mean")
    if tasks.to_confirm and settings.confirm:
        confirmed = ", ".join(tasks.to_confirm)
        lines.append(
            f"then the best, the whole adapter and the base on the test split: {confirmed}"
        )
    return "\n".join([*lines, f"would write to {output}"])


def _refuse_tensor_parallel(settings: SweepSettings) -> None:
    if "tp_plan" in settings.model_args and processes.count() > 1:
        raise ModelError(
            f"model_args sets tp_plan, which spreads one model over {processes.count()} processes, "
            "and a sweep gives each process a model of its own; leave it out, or use "
            "parallelize=True without a launcher"
        )


def _load(manager: TaskManager, names: Sequence[str], settings: SweepSettings) -> LoadedTasks:
    """Load the tasks and refuse those that cannot be evaluated."""
    tasks = LoadedTasks(manager, names, settings.split, settings.documents)
    if settings.save and len(tasks.tasks) != 1:
        several = ", ".join(tasks.tasks)
        raise TaskError(f"--save takes one task to choose by, and {several} were given")
    for name, task in tasks.tasks.items():
        check_metric(task, settings.metric)
        if getattr(task, "UNSAFE_CODE", False) and not settings.confirm_run_unsafe_code:
            raise TaskError(
                f"task {name} runs code that the model wrote; give --confirm-run-unsafe-code if "
                "that is safe here"
            )
    return tasks


def _boundaries(lm: SweepLM, settings: SweepSettings, traced: str | None) -> list[int]:
    """Return the boundaries to score; of ``all``, not those that equal the base model.

    The base model and the whole adapter are always among them: the others are compared with these.
    """
    boundaries = parse_boundaries(traced or settings.boundaries, lm.layers)
    if settings.boundaries.strip() == "all":
        same = [b for b in boundaries if b >= 0 and not lm.cut.kept(b)]
        if same:
            logger.info("boundaries up to %d keep no module: the base model", max(same))
        boundaries = [b for b in boundaries if b not in same]
    lm.check(boundaries)
    return usable(lm, sorted({*boundaries, -1, lm.layers - 1}))
