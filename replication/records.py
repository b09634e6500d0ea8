"""What is kept of a step: its numbers, per document, and no text.

lm-eval's samples hold prompts and responses, some under licences that forbid passing them on. A
record has each document's values only. For corpus metrics these are sacrebleu's counts, from which
the metric is computed anew; a response is known by eight digits of its hash, so that one sees where
two cuts answer differently.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval_lora_boundary.files import SWEEP, TRACE, cut_folder, read_object, read_samples
from lm_eval_lora_boundary.report.lm_eval_files import newest_results, newest_samples
from lm_eval_lora_boundary.stats.statistic import CorpusScores, statistic

from .cuts import name_of
from .metrics import OF_SUMS
from .orders import NAME as ORDERS

_NOT_FOUND = "[invalid]"  # what lm-eval's regex filter returns if nothing matches
_REMEDY = "run `make replicate` again"
_TRACED = (
    *("documents", "layers", "models", "candidate", "candidate_low", "candidate_high", "share"),
    *("verdict", "gradient"),
)
_DECIDED = ("best", "best_boundary", "smallest_noninferior", "choice", "choice_basis")
_TRAINED = (
    *("boundary", "dropout", "epochs", "lr", "rank", "alpha", "weight_decay", "seed", "limit"),
    *("batch_size", "dtype", "max_length"),
)


def read_step(kind: str, folder: Path) -> dict[str, Any]:
    """Return the record of a step from the files that its command wrote.

    Args:
        kind: ``train``, ``trace``, ``orders`` or ``sweep``.
        folder: Its output folder.

    Raises:
        OutputError: A file is missing or damaged.
    """
    if kind == "train":
        return _train(read_object(folder / "training.json", _REMEDY))
    if kind == "trace":
        return _trace(read_object(folder / TRACE, _REMEDY))
    if kind == "orders":
        return {"orders": read_object(folder / ORDERS, _REMEDY)}
    return _sweep(folder)


def _train(content: Mapping[str, Any]) -> dict[str, Any]:
    settings = content["settings"]
    kept = ("rows", "lora", "steps", "loss", "first_loss", "final_loss", "tokens_per_second")
    return {
        "settings": {name: settings[name] for name in _TRAINED if name in settings},
        "base": content["base"] | {"name": Path(content["base"]["name"]).name},
        "adapter_sha256": content["adapter_sha256"],
        "versions": content["versions"],
        **{name: content[name] for name in kept if name in content},
    }


def _trace(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "signature": content["signature"],
        "tasks": {
            task: {name: found[name] for name in _TRACED if name in found}
            for task, found in content["tasks"].items()
        },
    }


def _sweep(folder: Path) -> dict[str, Any]:
    content = read_object(folder / SWEEP, _REMEDY)
    layers = content["layers"]
    tasks = {name: _task(folder, name, found, layers) for name, found in content["tasks"].items()}
    controls = {
        name: _task(folder / "control", name, found, layers)
        for name, found in content.get("control_tasks", {}).items()
    }
    return {
        "signature": content["signature"],
        "engine": content["engine"],
        "layers": layers,
        # one of them quotes the beginning of a prompt
        "notes": [note for note in content["notes"] if note["kind"] != "prompt"],
        "tasks": tasks,
        "control_tasks": controls,
    }


def _task(folder: Path, task: str, found: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Return the numbers of a task under every cut."""
    families = found.get("families", {}).values()
    rows = [*found["boundaries"], *found.get("cuts", ())]
    rows += [row for family in families for row in family["cuts"]]
    names = {row["boundary"] if row.get("boundary") is not None else row["cut"] for row in rows}
    cuts = {name_of(name, layers): cut_folder(folder, name) for name in names}
    metrics: dict[str, dict[str, Any]] = {}
    record: dict[str, Any] = {
        "metric": found["metric"],
        "split": found["split"],
        "documents": found["documents"],
        "metrics": metrics,
        "responses": {},
        "decision": {name: found[name] for name in _DECIDED if name in found},
    }
    for cut in sorted(cuts):
        results = newest_results(cuts[cut])
        samples = [sample for _, sample in read_samples(newest_samples(cuts[cut], task), _REMEDY)]
        samples.sort(key=lambda sample: sample["doc_id"])
        first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        record.setdefault("ids", [sample["doc_hash"][:8] for sample in first])
        record.setdefault("clusters", _clusters(first))
        record["responses"][cut] = [_hash(sample["resps"]) for sample in first]
        for key, items in _items(samples):
            value = results["results"][task][key]
            better = results["higher_is_better"][task].get(key.partition(",")[0])
            entry = metrics.setdefault(key, {"higher_is_better": better, "cuts": {}})
            kind, numbers = _numbers(key, items, value)
            entry.setdefault("kind", kind)
            if kind != entry["kind"]:
                raise ValueError(f"{task}, {key}: {kind} under {cut}, {entry['kind']} elsewhere")
            entry["cuts"][cut] = {"value": value, "documents": numbers}
        for key, matched in _matched(samples):
            entry = metrics.setdefault(key, {"higher_is_better": True, "kind": "mean", "cuts": {}})
            entry["cuts"][cut] = {"value": sum(matched) / len(matched), "documents": matched}
    return record


def _matched(samples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float]]]:
    """Yield, for each filter that looks for an answer, in which responses it found one."""
    filters = dict.fromkeys(sample["filter"] for sample in samples)
    for name in filters:
        if name != "none":
            found = [sample["filtered_resps"][0] for sample in samples if sample["filter"] == name]
            yield f"matched,{name}", [float(text != _NOT_FOUND) for text in found]


def _items(samples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the keys of a task's metrics, each with its items by document."""
    names: dict[str, dict[str, None]] = {}
    for sample in samples:
        names.setdefault(sample["filter"], {}).update(dict.fromkeys(sample["metrics"]))
    for filter_name, of_filter in names.items():
        some = [sample for sample in samples if sample["filter"] == filter_name]
        for metric in of_filter:
            if all(metric in sample for sample in some):
                yield f"{metric},{filter_name}", [sample[metric] for sample in some]


def _numbers(key: str, items: Sequence[Any], value: float) -> tuple[str, list[Any]]:
    """Return what kind of metric it is, and each document's numbers."""
    if all(isinstance(item, (int, float)) for item in items):
        return "mean", [float(item) for item in items]
    if all(isinstance(part, (int, float)) for item in items for part in item):
        numbers = [list(item) for item in items]
        for kind, aggregate in OF_SUMS.items():
            if math.isclose(aggregate(numbers), value, rel_tol=1e-6):
                return kind, numbers
        raise ValueError(f"{key}: expected the ratio of two sums, or a perplexity")
    found = statistic(key.partition(",")[0], [items], [value])
    if not isinstance(found, CorpusScores):
        raise ValueError(f"{key}: expected numbers, or texts of a metric of sacrebleu")
    return type(found.scorer).__name__.lower(), found.counts[0].tolist()


def _clusters(samples: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return what each document belongs to; None if nothing or the same is known of all."""
    names = [sample["doc"].get("docid") for sample in samples]
    return None if len(set(names)) < 2 else [_hash(name) for name in names]


def _hash(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
