"""A results file of lm-eval: which model, which tasks, which values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_eval.utils import simple_parse_args_string

from ..errors import OutputError
from .locate import read_json

_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.-]+)$")
_STDERR = "_stderr"
_SETTINGS = ("gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
_PROMPTS = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")


@dataclass(frozen=True)
class TaskResult:
    """What a run says about a task or group.

    Attributes:
        file: The results file.
        samples: The samples file of the task, where there is one.
        version: Version of the task.
        documents: Number of documents that were answered.
        values: Values by lm-eval's key, ``metric,filter``; NaN where lm-eval has no number.
        stderrs: lm-eval's standard errors by the same key.
        directions: By name of the metric, whether more of it is better.
        aggregations: By name of the metric, the name of what aggregates it.
        generation: Generation arguments of the task, as JSON.
        group: Whether these are values of a group of tasks.
        lm_eval: Version of lm-eval.
    """

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


@dataclass(frozen=True)
class Run:
    """A model, and what it reached on tasks: a row of a leaderboard.

    Attributes:
        files: The results files.
        model: lm-eval's name of the model's class, such as ``hf``.
        args: The model's arguments.
        settings: What else distinguishes runs of one model: seeds, chat template, ….
        boundary: The boundary, if the model was cut at one.
        layers: Its number of layers, if it was cut.
        kept: LoRA parameters that were kept, if it was cut.
        tasks: Results by name of the task.
        subtasks: Tasks by name of the group.
        role: What it is in a sweep: ``base``, ``best``, ``full``; else empty.
        sweep: Folder of the sweep that it stands for.
    """

    files: tuple[Path, ...]
    model: str
    args: Mapping[str, Any]
    settings: Mapping[str, Any]
    boundary: int | None
    layers: int | None
    kept: int | None
    tasks: Mapping[str, TaskResult]
    subtasks: Mapping[str, Sequence[str]]
    role: str = ""
    sweep: Path | None = None

    @property
    def identity(self) -> str:
        """What two runs share if they are of one model under the same settings."""
        facts = [self.model, self.args, self.settings, self.boundary, self.role, self.sweep]
        return json.dumps(facts, sort_keys=True, default=str)

    def full_name(self) -> str:
        """Return everything that is known of the model, in one line."""
        known = {"model": self.model, **self.args}
        return ", ".join(f"{key}={value}" for key, value in known.items())


def read_run(file: Path) -> Run:
    """Read a results file.

    Raises:
        OutputError: It cannot be read, or is no results file of lm-eval.
    """
    content = read_json(file)
    results = content.get("results")
    if not isinstance(results, dict) or not all(isinstance(r, dict) for r in results.values()):
        raise OutputError(f"{file} has no `results` by task: it is no results file of lm-eval")
    config = _mapping(content, "config")
    given = config.get("model_args") or {}
    cut = {key: _integer(config.get(key)) for key in ("boundary", "num_layers", "kept_parameters")}
    return Run(
        files=(file,),
        model=str(config.get("model") or content.get("model_source") or "unknown"),
        args=dict(given) if isinstance(given, dict) else simple_parse_args_string(str(given)),
        settings={
            **{key: config.get(key) or None for key in _SETTINGS},
            **{key: content.get(key) or None for key in _PROMPTS},
            "adapter_sha256": config.get("adapter_sha256"),
        },
        boundary=cut["boundary"],
        layers=cut["num_layers"],
        kept=cut["kept_parameters"],
        tasks={
            task: _task_result(file, content, task)
            for task, values in results.items()
            if any("," in key for key in values)
        },
        subtasks={
            group: list(tasks)
            for group, tasks in _mapping(content, "group_subtasks").items()
            if isinstance(tasks, list)
        },
    )


def _task_result(file: Path, content: Mapping[str, Any], task: str) -> TaskResult:
    """Return what a results file says about one of its tasks."""
    found = content["results"][task]
    date = _DATE.search(file.stem)
    samples = file.with_name(f"samples_{task}_{date[1]}.jsonl") if date else None
    config = _mapping(_mapping(content, "configs"), task)
    metrics = [entry for entry in config.get("metric_list") or () if isinstance(entry, dict)]
    count = _mapping(_mapping(content, "n-samples"), task).get("effective")
    version = _mapping(content, "versions").get(task)
    keys = [tuple(key.split(",", 1)) for key in found if "," in key]
    return TaskResult(
        file=file,
        samples=samples if samples is not None and samples.is_file() else None,
        version=None if version is None else str(version),
        documents=_integer(found.get("sample_len") if count is None else count),
        values={
            f"{name},{filter_name}": _number(found[f"{name},{filter_name}"])
            for name, filter_name in keys
            if not name.endswith(_STDERR)
        },
        stderrs={
            f"{name.removesuffix(_STDERR)},{filter_name}": error
            for name, filter_name in keys
            if name.endswith(_STDERR)
            and math.isfinite(error := _number(found[f"{name},{filter_name}"]))
        },
        directions=_mapping(_mapping(content, "higher_is_better"), task),
        aggregations={
            str(entry["metric"]): str(entry["aggregation"])
            for entry in metrics
            if {"metric", "aggregation"} <= entry.keys()
        },
        generation=json.dumps(config.get("generation_kwargs"), sort_keys=True, default=str),
        group=task in _mapping(content, "groups")
        or bool(_mapping(content, "group_subtasks").get(task)),
        lm_eval=str(content.get("lm_eval_version") or "unknown"),
    )


def newest(files: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read the results files of one folder; of each model and task the newest counts.

    Args:
        files: Results files, newest first.

    Returns:
        One run per model, and a line for each file that was ignored, wholly or in part.
    """
    kept: dict[str, Run] = {}
    ignored = []
    for file in files:
        run = read_run(file)
        newer = kept.get(run.identity)
        old = [task for task in run.tasks if newer is not None and task in newer.tasks]
        if newer is not None and old:
            which = "" if len(old) == len(run.tasks) else f"{', '.join(old)} of "
            ignored.append(f"ignored {which}{file}: {newer.tasks[old[0]].file.name} is newer")
        rest = replace(run, tasks={t: r for t, r in run.tasks.items() if t not in old})
        if newer is None:
            kept[run.identity] = rest
        elif rest.tasks:
            kept[run.identity] = _join(newer, rest)
    return list(kept.values()), ignored


def merged(runs: Iterable[Run]) -> list[Run]:
    """Put runs of one model on different tasks into one row; drop files that come twice."""
    rows: list[Run] = []
    for run in runs:
        files = {file.resolve() for file in run.files}
        if any(files <= {file.resolve() for file in row.files} for row in rows):
            continue
        for i, row in enumerate(rows):
            if row.identity == run.identity and not row.tasks.keys() & run.tasks.keys():
                rows[i] = _join(row, run)
                break
        else:
            rows.append(run)
    return rows


def _join(run: Run, other: Run) -> Run:
    """Return one run with the tasks of two."""
    return replace(
        run,
        files=run.files + other.files,
        tasks={**run.tasks, **other.tasks},
        subtasks={**run.subtasks, **other.subtasks},
    )


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a part of a JSON object; empty if it is missing or no object."""
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float:
    """Return a number, NaN for anything else, such as lm-eval's ``N/A``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return math.nan
