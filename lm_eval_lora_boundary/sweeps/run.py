"""The flow of a sweep, from settings to ``sweep.json``.

lm-eval builds the requests once, an engine answers each of them under every boundary, the answers
are stored, and lm-eval itself scores each boundary from the stored answers.
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
from ..files import write_text
from ..harness import processes
from ..harness.device import usable_device
from ..harness.evaluation import Evaluation
from ..harness.signature import describe_run, identity, signature
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks, find_tasks, task_manager
from ..report.write import write_report
from ..stats.recommendation import advise
from ..vllm.sweep_lm import VllmSweepLM
from .confirmation import confirm, usable
from .engines import find_engines
from .output_folder import clean_up, remove_other_confirmations, remove_others
from .plan import Plan, before
from .progress import Progress
from .race import finalists, race_summary, run_race
from .save import save
from .scheduler import Answering
from .scores import check_metric, score, task_scores
from .settings import SweepSettings
from .store import AnswerStore
from .summary import summarise
from .worker import Follower, Load

logger = logging.getLogger("lm_eval.lora_boundary")

REPORT = "sweep.json"


def run(
    settings: SweepSettings, output: Path, *, model: PreTrainedModel | None = None
) -> dict[str, Any]:
    """Score every boundary and write what was found.

    Under ``accelerate launch``, all processes call this, and answer requests together; the first
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
    with Follower(settings, output, lambda: load_model(settings, model)) as follower:
        return processes.together(lambda: _run(settings, output, model), follower.obey)


def _run(settings: SweepSettings, output: Path, model: PreTrainedModel | None) -> dict[str, Any]:
    """Score every boundary; other processes are there to answer requests."""
    manager = task_manager(settings.include_path, settings.model_arguments())
    names = find_tasks(manager, settings.tasks)
    with AnswerStore(output) as store, ExitStack() as scope:
        clean_up(output)
        lm = processes.command(Load(), lambda _: load_model(settings, model))
        boundaries = _boundaries(lm, settings)
        tasks = _load(manager, names, settings)
        engines = scope.enter_context(closing(find_engines(lm, settings.engine)))
        facts = describe_run(lm, settings)
        answering = Answering(
            engines,
            store,
            identity(facts),
            boundaries,
            settings.batch_size,
            Progress(lambda text: len(lm.tok_encode(text))),
        )
        lm.answering = answering
        evaluation = Evaluation(lm, tasks, settings)
        _check_saving(settings, tasks)
        ends = (-1, lm.layers - 1)  # what every other boundary is compared with
        race = (
            run_race(evaluation, answering, boundaries, settings, ends) if settings.race else None
        )
        in_full = finalists(race, ends) if race else boundaries
        scored = score(evaluation, in_full, output, settings.metric)
        remove_others(output, in_full)
        found = {
            task: summarise(
                scored.metrics[task],
                measured,
                task_scores(evaluation, scored, task),
                lm.layers - 1,
                tasks.splits[task],
            )
            for task, measured in scored.measured.items()
        }
        if race and race.dropped:  # they have no draws that the choice could be corrected by
            found = {task: entry | {"optimism": None} for task, entry in found.items()}
        if settings.confirm:
            found = confirm(lm, tasks, settings, answering, output, found)
        full = lm.layers - 1
        found = {
            task: entry | {"choice": advise(entry, full).boundary} for task, entry in found.items()
        }
        remove_other_confirmations(output, [task for task in found if found[task]["test"]])
        summary: dict[str, Any] = {
            "signature": signature(facts, settings, tasks, f"engine {engines.name}"),
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
        write_text(output / REPORT, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
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
    boundaries = _boundaries(lm, settings)
    engines = find_engines(lm, settings.engine)
    counted = Plan()
    lm.answering = counted
    tasks = _load(manager, names, settings)
    Evaluation(lm, tasks, settings).at(boundaries[0], predict_only=True)
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
    for name, task in tasks.tasks.items():
        check_metric(task, settings.metric)
        if getattr(task, "UNSAFE_CODE", False) and not settings.confirm_run_unsafe_code:
            raise TaskError(
                f"task {name} runs code that the model wrote; give --confirm-run-unsafe-code if "
                "that is safe here"
            )
    return tasks


def _boundaries(lm: SweepLM, settings: SweepSettings) -> list[int]:
    """Return the boundaries to score; of ``all``, those that are not the base model once more.

    Base model and whole adapter are always among them: the others are compared with these.
    """
    boundaries = parse_boundaries(settings.window or settings.boundaries, lm.layers)
    if settings.boundaries.strip() == "all":
        same = [b for b in boundaries if b >= 0 and not lm.cut.kept(b)]
        if same:
            logger.info("boundaries up to %d keep no module: the base model", max(same))
        boundaries = [b for b in boundaries if b not in same]
    lm.check(boundaries)
    return usable(lm, sorted({*boundaries, -1, lm.layers - 1}))


def load_model(settings: SweepSettings, model: PreTrainedModel | None = None) -> SweepLM:
    """Load the base model and the whole adapter.

    Raises:
        ModelError: The base model cannot be loaded, or is no decoder-only model.
        AdapterError: The adapter cannot be used.
    """
    if settings.engine == "vllm":
        processes.refuse_several("a sweep in vLLM")
        if model is not None or settings.device is not None:
            given = "a loaded model" if model is not None else f"device={settings.device}"
            raise ModelError(
                f"engine=vllm and {given}: vLLM loads the model itself, where it finds room; give "
                "the model's name alone"
            )
        return VllmSweepLM(settings)
    arguments = settings.model_arguments() | ({} if model is None else {"pretrained": model})
    arguments["device"] = usable_device(settings.device)
    return SweepLM(**arguments)


def _check_saving(settings: SweepSettings, tasks: LoadedTasks) -> None:
    if settings.save and len(tasks.tasks) != 1:
        names = ", ".join(tasks.tasks)
        raise TaskError(f"--save takes one task to choose by, and {names} were given")
