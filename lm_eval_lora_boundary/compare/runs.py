"""lm-eval's results files: the model, the tasks and the values."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..untrusted import is_regular
from ..upstream.lm_eval import simple_parse_args_string
from .locate import read_json
from .task_facts import aggregations, cluster, directions, mapping, own_name

_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.-]+)$")
_STDERR = "_stderr,"  # in the key of a standard error, between metric and filter
_SETTINGS = ("gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
_PROMPTS = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")


@dataclass(frozen=True)
class TaskResult:
    """What a run recorded for a task or a group.

    Attributes:
        name: Its name without a group.
        file: The results file.
        samples: The samples file of the task, if there is one.
        version: Version of the task.
        documents: Number of documents.
        values: Values by lm-eval's key, ``metric,filter``; NaN where lm-eval has no number.
        stderrs: lm-eval's standard errors, by the same key.
        directions: Whether a higher value is better, by metric name.
        aggregations: Name of the aggregation function, by metric name.
        generation: Generation arguments of the task, as JSON.
        group: Whether this is a group of tasks.
        lm_eval: Version of lm-eval.
        cluster: Field of the documents that says which of them belong together.
    """

    name: str
    file: Path
    samples: Path | None
    version: str | None
    documents: int | None
    values: Mapping[str, float]
    stderrs: Mapping[str, float]
    directions: Mapping[str, bool | None]
    aggregations: Mapping[str, str]
    generation: str
    group: bool
    lm_eval: str
    cluster: str | None = None


@dataclass(frozen=True)
class Run:
    """A model and its results: a row of a leaderboard.

    Attributes:
        files: The results files.
        model: lm-eval's name of the model class, such as ``hf``.
        args: The model arguments.
        settings: What else distinguishes runs of one model: seeds, chat template, ….
        boundary: The boundary, if there is one.
        layers: Number of layers, if the adapter was cut.
        kept_parameters: Number of the adapter's parameters kept, if the adapter was cut.
        tasks: Results by task.
        subtasks: Tasks by group.
        role: Its role in a sweep, such as ``base`` or ``best``; else empty.
        sweep: Folder of the sweep that it comes from.
    """

    files: tuple[Path, ...]
    model: str
    args: Mapping[str, Any]
    settings: Mapping[str, Any]
    boundary: int | None
    layers: int | None
    kept_parameters: int | None
    tasks: Mapping[str, TaskResult]
    subtasks: Mapping[str, Sequence[str]]
    role: str = ""
    sweep: Path | None = None

    @property
    def identity(self) -> str:
        """A key that is the same for runs of one model with the same settings."""
        facts = [self.model, self.args, self.settings, self.boundary, self.role, self.sweep]
        return json.dumps(facts, sort_keys=True, default=str)

    @property
    def resolved_files(self) -> set[Path]:
        """The results files, without symbolic links."""
        return {file.resolve() for file in self.files}

    def full_name(self) -> str:
        """Return the model and all its arguments in one line."""
        facts = {"model": self.model, **self.args}
        return ", ".join(f"{key}={value}" for key, value in facts.items())

    def by_own_names(self) -> Run:
        """Return the run with tasks by their own names, where no two have the same.

        So results of lm-eval 0.5 can be compared with those of 0.4, and of a group with those of
        a task alone.
        """
        counts = Counter(result.name for result in self.tasks.values())
        names = {key: each.name for key, each in self.tasks.items() if counts[each.name] == 1}
        return replace(
            self,
            tasks={names.get(key, key): each for key, each in self.tasks.items()},
            subtasks={
                group: [names.get(task, task) for task in tasks]
                for group, tasks in self.subtasks.items()
            },
        )


def read_run(file: Path) -> Run:
    """Read a results file.

    Raises:
        OutputError: The file cannot be read or is not a results file of lm-eval.
    """
    content = read_json(file)
    results = content.get("results")
    if not isinstance(results, dict) or not all(isinstance(r, dict) for r in results.values()):
        raise OutputError(f"{file} has no `results` by task: it is not a results file of lm-eval")
    config = mapping(content, "config")
    args = config.get("model_args") or {}
    return Run(
        files=(file,),
        model=str(config.get("model") or content.get("model_source") or "unknown"),
        args=dict(args) if isinstance(args, dict) else _arguments(str(args)),
        settings={
            **{key: config.get(key) or None for key in _SETTINGS},
            **{key: content.get(key) or None for key in _PROMPTS},
            "adapter_sha256": config.get("adapter_sha256"),
        },
        boundary=_integer(config.get("boundary")),
        layers=_integer(config.get("num_layers")),
        kept_parameters=_integer(config.get("kept_parameters")),
        tasks={
            task: _task_result(file, content, task)
            for task, entry in results.items()
            if any("," in key for key in entry)
        },
        subtasks={
            group: [task for task in tasks if isinstance(task, str)]
            for group, tasks in mapping(content, "group_subtasks").items()
            if isinstance(tasks, list)
        },
    )


def _task_result(file: Path, content: Mapping[str, Any], task: str) -> TaskResult:
    entry = content["results"][task]
    date = _DATE.search(file.stem)
    # the name of a task may hold anything, and a file beside this one is meant
    samples = file.parent / f"samples_{task}_{date[1]}.jsonl" if date and "/" not in task else None
    config = mapping(mapping(content, "configs"), task)
    count = mapping(mapping(content, "n-samples"), task).get("effective")
    version = mapping(content, "versions").get(task)
    numbers = {key: _number(value) for key, value in entry.items() if "," in key}
    return TaskResult(
        name=own_name(content, task),
        file=file,
        samples=samples if samples is not None and is_regular(samples) else None,
        version=None if version is None else str(version),
        documents=_integer(entry.get("sample_len") if count is None else count),
        values={key: number for key, number in numbers.items() if _STDERR not in key},
        stderrs={
            key.replace(_STDERR, ",", 1): number
            for key, number in numbers.items()
            if _STDERR in key and math.isfinite(number)
        },
        directions=directions(content, task),
        aggregations=aggregations(config),
        generation=json.dumps(config.get("generation_kwargs"), sort_keys=True, default=str),
        group=task in mapping(content, "groups")
        or bool(mapping(content, "group_subtasks").get(task)),
        lm_eval=str(content.get("lm_eval_version") or "unknown"),
        cluster=cluster(config),
    )


def newest_runs(files: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read the results files in one folder and keep the newest result of each model and task.

    Args:
        files: Results files, newest first.

    Returns:
        One run per model, and a warning for each file that was ignored, wholly or in part.
    """
    runs: dict[str, Run] = {}
    warnings = []
    for file in files:
        run = read_run(file)
        newer = runs.get(run.identity)
        if newer is None:
            runs[run.identity] = run
            continue
        old = [task for task in run.tasks if task in newer.tasks]
        if old:
            part = "" if len(old) == len(run.tasks) else f"{', '.join(old)} of "
            warnings.append(f"ignored {part}{file}: {newer.tasks[old[0]].file.name} is newer")
        tasks = {task: result for task, result in run.tasks.items() if task not in old}
        if tasks:
            runs[run.identity] = _combine(newer, replace(run, tasks=tasks))
    return list(runs.values()), warnings


def merge_runs(runs: Iterable[Run]) -> list[Run]:
    """Merge runs of one model on different tasks; drop runs whose files are already included."""
    rows: list[Run] = []
    for run in runs:
        if any(run.resolved_files <= row.resolved_files for row in rows):
            continue
        for i, row in enumerate(rows):
            if row.identity == run.identity and not row.tasks.keys() & run.tasks.keys():
                rows[i] = _combine(row, run)
                break
        else:
            rows.append(run)
    return rows


def _combine(run: Run, other: Run) -> Run:
    return replace(
        run,
        files=run.files + other.files,
        tasks={**run.tasks, **other.tasks},
        subtasks={**run.subtasks, **other.subtasks},
    )


def _arguments(text: str) -> dict[str, Any]:
    """Return model arguments; as one if lm-eval cannot take the text apart."""
    try:
        return dict(simple_parse_args_string(text))
    except (ValueError, RecursionError):
        return {"model_args": text}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float:
    """Return a number; NaN for anything else, such as lm-eval's ``N/A``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return math.nan
