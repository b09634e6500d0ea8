"""The flow of a sweep, from settings to ``sweep.json``.

lm-eval builds the requests, an engine answers each of them under every cut, the answers are stored,
and lm-eval itself scores each cut from the stored answers. Then the scores are compared, a cut is
recommended, and everything is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..files import ROWS, SWEEP, write_text
from ..harness import processes
from ..harness.evaluation import Evaluation
from ..harness.own_data.request import own_data
from ..harness.own_data.shown import notes, own_tasks
from ..harness.provenance.notes import Note, same_as_base
from ..harness.signature import describe_run, identity, signature
from ..harness.tasks import find_tasks, task_manager
from ..report.write import write_report
from ..stats.margin import Margin
from .candidates import traced_boundaries
from .confirmation import confirm
from .control_tasks import score_controls, with_controls
from .cuts_to_score import find_cuts
from .decision import decide
from .engines import find_engines, load_model
from .expected import CHOOSING, CONTROL_TASKS, TEST, expected_work
from .likelihood import with_likelihood
from .measures import made_up_measures, measures
from .output_folder import clean_up, remove_other_confirmations, remove_others
from .own_folder import OwnFolder
from .progress import Progress
from .race import finalists, race_summary, run_race
from .rows_csv import rows_csv
from .save import save
from .scheduler import Scheduler
from .scores import score
from .settings import SweepSettings
from .sizes import bought, with_sizes
from .speed import measure_speed
from .store import AnswerStore
from .summary import summarise_tasks
from .tasks import load_controls, load_tasks
from .worker import Load, Worker

logger = logging.getLogger("lm_eval.lora_boundary")


def run(
    settings: SweepSettings,
    output: Path,
    *,
    model: PreTrainedModel | None = None,
    force: bool = False,
    speed: bool = False,
) -> dict[str, Any]:
    """Score the cuts and write the results.

    Under ``accelerate launch``, all processes call this and answer requests together; the first
    of them does everything else.

    Args:
        settings: The sweep.
        output: Folder to write; the same call again resumes in it.
        model: The base model, if it is loaded already; it is changed.
        force: Replace the results of another run in the folder.
        speed: In the end, measure for a few seconds what a token takes, for ``speed.json``.

    Returns:
        The content of ``sweep.json``, in every process.

    Raises:
        LoraBoundaryError: The settings, the model, the tasks or the folder cannot be used; its
            subclass tells which.
    """
    folder = OwnFolder(output, settings, force=force)  # before long work
    traced = traced_boundaries(settings, output, model, force=force)
    with closing(Worker(settings, output, lambda: load_model(settings, model))) as worker:
        return processes.together(
            lambda: _run(settings, output, folder, model, traced, speed), worker.obey
        )


def _run(
    settings: SweepSettings,
    output: Path,
    folder: OwnFolder,
    model: PreTrainedModel | None,
    traced: str | None,
    speed: bool,
) -> dict[str, Any]:
    """Run the sweep; the other processes only answer requests."""
    own = own_data(settings)
    manager: Any = None  # lm-eval's tasks take a few seconds to list
    if own is None or settings.control:
        manager = task_manager(settings.include_path, settings.model_arguments())
    names = [own.name] if own else find_tasks(manager, settings.tasks)
    with ExitStack() as scope:
        store = scope.enter_context(closing(AnswerStore(output)))
        clean_up(output)

        # Set up: the model, the tasks, and where answers come from (the store or an engine).
        lm = processes.command(Load(), lambda _: load_model(settings, model))
        full = lm.layers - 1
        if own is not None:
            manager = own_tasks(own, lm, settings, manager)
        tasks = load_tasks(manager, names, settings)
        control_tasks = load_controls(manager, tasks, settings)
        evaluation = Evaluation(lm, tasks, settings)
        engines = scope.enter_context(closing(find_engines(lm, settings.engine)))
        facts = describe_run(lm, settings)
        folder.check(facts)
        progress = scope.enter_context(closing(Progress(lm.decoder_layers)))
        scheduler = Scheduler(engines, store, identity(facts), settings.batch_size, progress)

        # The cuts. For some families, the model must first run on the tasks.
        seen = measures(lm, evaluation, scheduler, settings)
        with progress.stage(CHOOSING):
            if "map" in settings.family:  # whose order takes a long time to find
                like_them = find_cuts(lm, settings, traced, made_up_measures(lm)).cuts
                progress.expect(expected_work(tasks, control_tasks, like_them, settings))
            wanted = find_cuts(lm, settings, traced, seen)
        progress.expect(expected_work(tasks, control_tasks, wanted.cuts, settings))
        scope.enter_context(folder.taken())

        # Requests, answers and scores, cut by cut: lm-eval builds the requests, the scheduler
        # answers them, and lm-eval scores the answers.
        references = (-1, full)  # all cuts are compared with these
        race = None
        with progress.stage(CHOOSING):
            if settings.race:
                race = run_race(evaluation, scheduler, wanted.cuts, settings, references)
            in_full = finalists(race, wanted.cuts, references) if race else wanted.cuts
            scored = score(evaluation, scheduler, in_full, output, settings.metric_name)
        with progress.stage(CONTROL_TASKS):
            controls = score_controls(lm, control_tasks, settings, scheduler, in_full, output)

        # Decision: the whole adapter, unless the documents show that a cut is better, or enough.
        margin = Margin.read(settings.margin)
        summaries = summarise_tasks(tasks, scored, wanted.families, full, race, margin)
        with progress.stage(TEST):
            confirmed = confirm(lm, tasks, settings, scheduler, output, summaries)
        decided = {}
        for task, summary in with_sizes(lm, confirmed).items():
            choice = decide(summary, full, scored.tasks[task].paired.scale)
            choice = with_controls(with_likelihood(choice, full), controls, full)
            decided[task] = {**choice, "buys": bought(lm, choice["choice"])}

        # Files
        signed = partial(
            signature,
            *(facts, settings, tasks, f"engine {engines.name}"),
            settings.requested(traced, wanted.families),
        )
        for task, entry in decided.items():
            if test := entry["test"]:
                test["signature"] = signed(tested=(task, test["documents"]))
        summary = {
            "signature": signed(),
            "settings": settings.as_json(),
            "base_sha256": facts["base_sha256"],
            "base_weights_sample": lm.base_sample,
            "adapter_sha256": facts["adapter_sha256"],
            "adapter_config_sha256": lm.adapter.config_sha256,
            "notes": [*lm.notes, *notes(own), *_without_effect(decided)],
            "engine": engines.name,
            "layers": lm.layers,
            "tasks": decided,
        }
        if own is not None:
            summary["data"] = own.facts
        if scored.groups:
            groups = scored.groups.items()
            summary["groups"] = {name: {"boundaries": rows} for name, rows in groups}
        if controls:
            summary["control_tasks"] = controls
        if race:
            summary["race"] = race_summary(race, settings, references)
        remove_others(output, in_full)
        remove_other_confirmations(output, [task for task in decided if decided[task]["test"]])
        write_text(output / SWEEP, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        write_text(output / ROWS, rows_csv(summary))
        progress.close()  # it watches the layers, which takes time
        measure_speed(lm, summary, output, wanted=speed)
        write_report(output)
        if settings.save:
            save(lm, summary, settings, has_test_split=bool(tasks.to_confirm))
    return summary


def _without_effect(decided: Mapping[str, Mapping[str, Any]]) -> list[Note]:
    """Return and log a note for each task on which the adapter changed no answer."""
    notes = same_as_base([name for name, task in decided.items() if task["same_as_base"]])
    for note in notes:
        logger.info("note: %s", note["text"])
    return notes
