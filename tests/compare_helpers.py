"""Results of imaginary models, written by lm-eval's own tracker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.loggers import EvaluationTracker
from lm_eval.utils import hash_string

from lm_eval_lora_boundary.compare import Comparison

Items = Mapping[str, Sequence[Any]]  # by lm-eval's key


def write(
    output: Path,
    tasks: Mapping[str, Items],
    *,
    model: str = "hf",
    args: Mapping[str, Any] | None = None,
    cut: Mapping[str, Any] | None = None,
    values: Mapping[str, float] | None = None,
    directions: Mapping[str, bool | None] | None = None,
    documents: Mapping[int, Any] | None = None,
    ids: Sequence[int] | None = None,
    target: str = "target",
    prompt: str = "prompt",
    version: float = 1.0,
    samples: bool = True,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    generation: Mapping[str, Any] | None = None,
    cluster: str | None = None,
    lm_eval_version: str | None = None,
) -> Path:
    """Write results and samples as `lm_eval --output_path --log_samples` does.

    The value of a metric is the mean of its items unless ``values`` gives another. ``documents``
    replaces the contents of single documents, by number; ``ids`` are their ``doc_id``. With
    ``cluster``, each task says that documents with the same value of this field belong together.

    Returns:
        The results file.
    """
    args = args or {"pretrained": "org/base"}
    results: dict[str, Any] = {
        "results": {
            task: {
                "alias": task,
                "sample_len": len(next(iter(items.values()))),
                **{key: (values or {}).get(key) or _mean(logged) for key, logged in items.items()},
                **{key.replace(",", "_stderr,"): _stderr(logged) for key, logged in items.items()},
            }
            for task, items in tasks.items()
        },
        "configs": {
            task: {
                "metric_list": [
                    {"metric": key.partition(",")[0], "aggregation": "mean"} for key in items
                ],
                "generation_kwargs": dict(generation or {}),
                "metadata": {"version": version} | ({"cluster": cluster} if cluster else {}),
            }
            for task, items in tasks.items()
        },
        "versions": dict.fromkeys(tasks, version),
        "higher_is_better": {
            task: {key.partition(",")[0]: True for key in items} | dict(directions or {})
            for task, items in tasks.items()
        },
        "n-samples": {
            task: {"original": 999, "effective": len(next(iter(items.values())))}
            for task, items in tasks.items()
        },
        "group_subtasks": {},
        "config": {"model": model, "model_args": dict(args), **(cut or {})},
        "lm_eval_version": "0.4.13",
    }
    for group, group_values in (groups or {}).items():
        results["groups"] = {group: {"alias": group, **group_values}}
        results["results"][group] = {"alias": group, **group_values}
        results["group_subtasks"] = {group: list(tasks)}
    if lm_eval_version is not None:
        results["lm_eval_version"] = lm_eval_version
    tracker = EvaluationTracker(output_path=str(output))
    tracker.general_config_tracker.log_experiment_args(
        model_source=model,
        model_args=dict(args),
        system_instruction=None,
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    logged = {
        task: _samples(items, documents or {}, ids, target, prompt) for task, items in tasks.items()
    }
    tracker.save_results_aggregated(results=results, samples=logged if samples else None)
    if samples:
        for task, lines in logged.items():
            tracker.save_results_samples(task_name=task, samples=lines)
    (file,) = output.glob(f"*/results_{tracker.date_id}.json")
    return file


def _samples(
    items: Items, documents: Mapping[int, Any], ids: Sequence[int] | None, target: str, prompt: str
) -> list[dict[str, Any]]:
    lines = []
    for filter_name in dict.fromkeys(key.partition(",")[2] for key in items):
        by_metric = {
            key.partition(",")[0]: logged
            for key, logged in items.items()
            if key.endswith(f",{filter_name}")
        }
        for i in range(len(next(iter(by_metric.values())))):
            doc = documents.get(i, {"id": i})
            lines.append(
                {
                    "doc_id": i if ids is None else ids[i],
                    "doc": doc,
                    "target": target,
                    "arguments": [(prompt, {})],
                    "resps": [["x"]],
                    "filtered_resps": ["x"],
                    "filter": filter_name,
                    "metrics": list(by_metric),
                    "doc_hash": hash_string(json.dumps(doc, indent=2, ensure_ascii=False)),
                    "prompt_hash": hash_string(prompt),
                    "target_hash": hash_string(target),
                    **{metric: logged[i] for metric, logged in by_metric.items()},
                }
            )
    return lines


def _mean(items: Sequence[Any]) -> float:
    return float(np.mean(items)) if isinstance(items[0], (int, float, np.number)) else 0.0


def _stderr(items: Sequence[Any]) -> float | str:
    if len(items) < 2 or not isinstance(items[0], (int, float, np.number)):
        return "N/A"
    return float(np.std(items, ddof=1) / np.sqrt(len(items)))


def scores(documents: int, seed: int, shift: float = 0.0) -> list[float]:
    """Return one score per document; the same documents are hard for every seed."""
    difficulty = np.random.default_rng(99).normal(size=documents)
    noise = np.random.default_rng(seed).normal(size=documents)
    return [float(value) for value in 0.5 + shift + 0.1 * difficulty + 0.05 * noise]


def answers(documents: int, seed: int, rate: float) -> list[float]:
    """Return 1 (right) or 0 (wrong) per document; the same are hard for every seed."""
    difficulty = np.random.default_rng(98).uniform(size=documents)
    noise = np.random.default_rng(seed).uniform(size=documents)
    return [float(value) for value in (0.6 * difficulty + 0.4 * noise) < rate]


def first_mean(items: Items) -> float:
    """Return the mean of the first metric."""
    return _mean(next(iter(items.values())))


def sweep_folder(
    folder: Path,
    best: Mapping[str, int],
    *,
    layers: int = 4,
    documents: int = 20,
    seed: int = 3,
    adapter: str = "org/lora",
    copies: int = 1,
    shares: Mapping[int, float] | None = None,
    **entry: Any,
) -> Path:
    """Write a sweep over boundaries -1 to layers - 1; the values rise with the boundary.

    ``shares`` says how often a boundary is chosen on halves; it is missing for the others. So many
    ``copies`` of each answer are given to other documents of the same ``text``.
    """
    results = {}
    contents = {i: {"id": i, "text": i // copies} for i in range(copies * documents)}
    for boundary in range(-1, layers):
        tasks = {
            t: {
                "acc,none": [
                    answer
                    for answer in answers(documents, seed, 0.2 + 0.15 * (boundary + 1))
                    for _ in range(copies)
                ]
            }
            for t in best
        }
        cut = {"boundary": boundary, "num_layers": layers, "kept_parameters": boundary + 1}
        args = {"pretrained": "org/base", "peft": adapter, "boundary": boundary}
        file = write(
            folder / "tmp", tasks, model="lora_boundary", args=args, cut=cut, documents=contents
        )
        shutil.move(file.parent, folder / f"boundary={boundary}")
        results[boundary] = {t: first_mean(items) for t, items in tasks.items()}
    shutil.rmtree(folder / "tmp")
    tasks = {
        task: {
            "metric": "acc,none",
            "higher_is_better": True,
            "boundaries": [
                {"boundary": b, "value": v[task], "p_simultaneous": 1.0}
                | ({"selection_share": shares[b]} if shares and b in shares else {})
                for b, v in results.items()
            ],
            "best": chosen,
            "smallest_noninferior": None,
            "choice": layers - 1,
            "answers": [],
            **entry,
        }
        for task, chosen in best.items()
    }
    content = {"signature": "", "settings": {"peft": adapter}, "tasks": tasks}
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def record(comparison: Comparison, label: str, task: str = "task") -> dict[str, Any]:
    """Return the numbers of a model on a task."""
    (only,) = (r for r in comparison.records if r["label"] == label and r["task"] == task)
    return only


def rows(comparison: Comparison) -> list[tuple[str, str, float]]:
    """Return label, task and value of every result."""
    return [(row["label"], row["task"], row["value"]) for row in comparison.records]
