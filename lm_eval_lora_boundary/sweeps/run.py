"""The flow of a sweep, from settings to ``sweep.json``.

lm-eval builds the requests once, an engine answers each of them under every boundary, the answers
are stored, and lm-eval itself scores each boundary from the stored answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel

from ..adapter_folder import RECORD
from ..boundaries import parse_boundaries
from ..checks import loading_base
from ..errors import TaskError
from ..task_loading import LoadedTasks, find_tasks, task_manager
from .answering import Answering
from .engines import Engines
from .evaluation import Evaluation
from .identity import identity
from .lm import SweepLM
from .plan import Plan
from .progress import Progress
from .racing import race_summary, run_race
from .results import clean_up, write_text
from .settings import SweepSettings
from .store import AnswerStore
from .summary import Measured, Metric, check_metric, choose_metric, measure, numbers, summarise

logger = logging.getLogger("lm_eval.lora_boundary")

REPORT = "sweep.json"


def run(
    settings: SweepSettings, output: Path, *, model: PreTrainedModel | None = None
) -> dict[str, Any]:
    """Score every boundary and write what was found.

    Args:
        settings: The sweep.
        output: Folder to write; the same call again resumes in it.
        model: The base model, if it is loaded already; it is changed.

    Returns:
        The content of ``sweep.json``.

    Raises:
        LoraBoundaryError: The settings, the model, the tasks or the folder cannot be used; its
            subclass tells which.
    """
    manager = task_manager(settings.include_path, settings.model_arguments())
    names = find_tasks(manager, settings.tasks)
    with AnswerStore(output) as store:
        clean_up(output)
        lm = load_model(settings, model)
        boundaries = _boundaries(lm, settings)
        tasks = _load(manager, names, settings)
        engines = Engines(lm, settings.engine)
        facts = _facts(lm, settings)
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
        race = run_race(evaluation, answering, boundaries, settings) if settings.race else None
        measured: dict[str, list[Measured]] = {name: [] for name in tasks.tasks}
        metrics: dict[str, Metric] = {}
        groups: dict[str, list[dict[str, Any]]] = {}
        for boundary in race.live if race else boundaries:
            results = evaluation.at(boundary)
            for task, values in measured.items():
                if task not in metrics:
                    metrics[task] = choose_metric(tasks.tasks[task], results, settings.metric)
                values.append(measure(task, metrics[task], boundary, results))
            for group, found in results.get("groups", {}).items():
                row = {"boundary": boundary, "metrics": numbers(found)}
                groups.setdefault(group, []).append(row)
            evaluation.write(output, boundary, results)
        summary: dict[str, Any] = {
            "signature": _signature(facts, settings, tasks, engines),
            "settings": settings.as_json(),
            "engine": engines.name,
            "tasks": {
                task: summarise(metrics[task], values, lm.layers - 1)
                for task, values in measured.items()
            },
        }
        if groups:
            summary["groups"] = {name: {"boundaries": rows} for name, rows in groups.items()}
        if race:
            summary["race"] = race_summary(race, settings)
        write_text(output / REPORT, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        if settings.save:
            _save(lm, summary, settings)
    return summary


def plan(settings: SweepSettings, output: Path) -> str:
    """Return what a sweep would do, as text; writes nothing.

    Raises:
        LoraBoundaryError: As :func:`run`.
    """
    manager = task_manager(settings.include_path, settings.model_arguments())
    names = find_tasks(manager, settings.tasks)
    lm = load_model(settings)
    boundaries = _boundaries(lm, settings)
    engines = Engines(lm, settings.engine)
    counted = Plan()
    lm.answering = counted
    evaluation = Evaluation(lm, _load(manager, names, settings), settings)
    evaluation.at(boundaries[0], predict_only=True)
    text = counted.describe(lm, engines, boundaries, settings.batch_size)
    return f"{text}\nwould write to {output}"


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
    """Return the boundaries to score; of ``all``, those that are not the base model once more."""
    boundaries = parse_boundaries(settings.boundaries, lm.layers)
    if settings.boundaries.strip() == "all":
        same = [b for b in boundaries if b >= 0 and not lm.cut.kept(b)]
        if same:
            logger.info("boundaries up to %d keep no module: the base model", max(same))
        boundaries = [b for b in boundaries if b not in same]
    lm.check(boundaries)
    return boundaries


def load_model(settings: SweepSettings, model: PreTrainedModel | None = None) -> SweepLM:
    """Load the base model and the whole adapter.

    Raises:
        ModelError: The base model cannot be loaded, or is no decoder-only model.
        AdapterError: The adapter cannot be used.
    """
    arguments = settings.model_arguments() | ({} if model is None else {"pretrained": model})
    if settings.device is not None:
        arguments["device"] = settings.device
    with loading_base(settings.pretrained):
        return SweepLM(**arguments)


def _facts(lm: SweepLM, settings: SweepSettings) -> dict[str, Any]:
    """Return what decides an answer besides request and boundary."""
    names = ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "torch")
    return {
        "base_sha256": lm.fingerprint,
        "adapter_sha256": lm.adapter.sha256,
        "adapter_config": lm.adapter.config.to_dict(),
        "dtype": str(lm.model.dtype),
        "softmax_dtype": str(lm.softmax_dtype),
        "mixed_precision_dtype": str(lm.mixed_precision_dtype),
        "attention": getattr(lm.model.config, "_attn_implementation", None),
        "device": lm.device.type,
        "config": _content(lm.model.config),
        "generation_config": _content(lm.model.generation_config),
        "vocabulary_sha256": hashlib.sha256(
            json.dumps(sorted(lm.tokenizer.get_vocab().items())).encode()
        ).hexdigest(),
        "model_args": dict(settings.model_args),
        "versions": {name: version(name) for name in names},
    }


def _content(config: Any) -> dict[str, Any]:
    """Return a config without what does not decide answers."""
    content: dict[str, Any] = config.to_dict()
    return {k: v for k, v in content.items() if k not in ("_name_or_path", "transformers_version")}


def _check_saving(settings: SweepSettings, tasks: LoadedTasks) -> None:
    if settings.save and len(tasks.tasks) != 1:
        names = ", ".join(tasks.tasks)
        raise TaskError(f"--save takes one task to choose by, and {names} were given")


def _save(lm: SweepLM, summary: Mapping[str, Any], settings: SweepSettings) -> None:
    """Record the best boundary in the adapter folder."""
    ((task, found),) = summary["tasks"].items()
    record = {
        "boundary": found["best"],
        "adapter_sha256": lm.adapter.sha256,
        "base": settings.pretrained,
        "base_sha256": lm.fingerprint,
        "task": task,
        "metric": found["metric"],
        "signature": summary["signature"],
    }
    write_text(lm.adapter.path / RECORD, json.dumps(record, indent=2) + "\n")
    logger.info("boundary %d recorded in %s", found["best"], lm.adapter.path / RECORD)


def _signature(
    facts: Mapping[str, Any], settings: SweepSettings, tasks: LoadedTasks, engines: Engines
) -> str:
    """Return one line that says exactly what was run."""
    versions = " ".join(f"{name}={number}" for name, number in facts["versions"].items())
    evaluated = ",".join(f"{name}:{task.VERSION}" for name, task in tasks.tasks.items())
    parts = [
        f"base {facts['base_sha256'][:12]}",
        f"adapter {facts['adapter_sha256'][:12]}",
        facts["dtype"],
        f"tasks {evaluated}",
        f"split {settings.split or 'default'}",
        f"limit {settings.documents}",
        f"fewshot {settings.num_fewshot}",
        f"chat {settings.apply_chat_template}",
        f"engine {engines.name}",
        versions,
    ]
    return " | ".join(parts)


def as_names(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """Return task names from a list, or from text with commas."""
    parts = tasks.split(",") if isinstance(tasks, str) else tasks
    return tuple(part.strip() for part in parts if part.strip())
