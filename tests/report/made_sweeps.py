"""Folders of finished sweeps, with made-up answers and their true statistics."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.scores import Scores
from lm_eval_lora_boundary.stats.selection import select
from lm_eval_lora_boundary.stats.sequences import Order, keeping
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.sweeps.decision import decide

TENTH = Margin(0.1, is_share=True)
SIGNATURE = "base 0123456789ab | adapter ba9876543210 | torch.float32 | lm-eval=0.4.13"
DATE = "2026-01-02T03-04-05.678901"
VOCABULARY = re.findall(
    r"\w+",
    "the model keeps layers of an adapter that read early and drops those that write late so "
    "every answer gets a little longer but holds what was asked for Anna Ben Clara Paris Kraod "
    "seven eleven museum foundry train ticket window and because when before after never again",
)


def sentence(source: random.Random, words: int) -> str:
    return " ".join(source.choice(VOCABULARY) for _ in range(words)) + "."


def statistics(values: np.ndarray, boundaries: Sequence[int], full: int) -> list[dict[str, Any]]:
    """Return the statistics of values with shape (documents, boundaries)."""
    documents = len(values)
    means = values.mean(axis=0).tolist()
    found = select(Scores(boundaries, means, Means(values), True), full, TENTH)
    stderr = values.std(axis=0, ddof=1) / documents**0.5 if documents > 1 else [None] * len(means)
    return [
        {"boundary": boundary, "value": mean, "stderr": error, **row}
        for boundary, mean, error, row in zip(boundaries, means, stderr, found.rows, strict=True)
    ]


def decided(task: dict[str, Any], full: int) -> dict[str, Any]:
    """Return a task's entry in ``sweep.json`` with the decision that follows from its rows."""
    rows = {row["boundary"]: row for row in task["boundaries"]}
    order = Order([boundary for boundary in reversed(rows) if boundary not in (-1, full)], True)
    kept = keeping(list(rows), [row["p_noninferior"] for row in rows.values()], [order])
    task["keeping"] = {
        "cuts": kept.cuts,
        "level": kept.level,
        "families": 1,
        "stopped_at": kept.stopped_at,
        "dropped": 0,
        "stopped_by_race": False,
    }
    return task | decide(task, full)


def generated(
    documents: int, boundaries: Sequence[int], words: int = 8, binary: bool = True, seed: int = 0
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return documents with responses, and their values with shape (documents, boundaries).

    Responses of neighbouring boundaries sometimes differ in a few words.
    """
    source = random.Random(seed)
    found, values = [], np.zeros((documents, len(boundaries)))
    for number in range(documents):
        skill = source.random()
        response = sentence(source, words)
        responses: list[str] = []
        for i in range(len(boundaries)):
            if i and source.random() < 0.35:
                parts = response.split()
                for _ in range(max(1, words // 12)):
                    parts[source.randrange(len(parts))] = source.choice(VOCABULARY)
                response = " ".join(parts)
            changed = i == 0 or response != responses[-1]
            reach = i / max(1, len(boundaries) - 1)
            quality = min(1.0, 2.2 * reach) - 0.35 * max(0.0, reach - 0.6) + 0.3 * (skill - 0.5)
            if changed:
                kept = float(source.random() < quality) if binary else round(quality / 2, 4)
            values[number, i] = kept
            responses.append(response)
        prompt = f"Dialogue: {sentence(source, 3 * words + 30)}\nSummary:"
        found.append({"prompt": prompt, "gold": sentence(source, words), "responses": responses})
    return found, values


def write_samples(
    folder: Path,
    task: str,
    boundary: int,
    samples: Sequence[dict[str, Any]],
    layers: int,
    date: str = DATE,
) -> None:
    """Write lm-eval's results and samples files of one boundary."""
    target = folder / f"boundary={boundary}"
    target.mkdir(parents=True, exist_ok=True)
    results = {"results": {task: {}}, "config": {"boundary": boundary, "num_layers": layers}}
    (target / f"results_{date}.json").write_text(json.dumps(results))
    lines = [json.dumps({"filter": "none", **each}, ensure_ascii=True) for each in samples]
    (target / f"samples_{task}_{date}.jsonl").write_text("\n".join(lines) + "\n")


def response_sample(
    number: int, prompt: str, gold: str, response: str, **metrics: float
) -> dict[str, Any]:
    """Return a sample of a task that generates text."""
    return {
        "doc_id": number,
        "doc": {},
        "target": gold,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"]}}},
        "resps": [[response]],
        "filtered_resps": [response],
        **metrics,
    }


def made_task(
    folder: Path,
    name: str = "summaries",
    *,
    documents: int = 40,
    layers: int = 32,
    words: int = 8,
    binary: bool = True,
    metric: str = "exact_match",
    split: str = "validation",
    seed: int = 0,
) -> dict[str, Any]:
    """Write the samples of a task and return its entry in ``sweep.json``."""
    boundaries = list(range(-1, layers))
    full = layers - 1
    found, values = generated(documents, boundaries, words, binary, seed)
    for i, boundary in enumerate(boundaries):
        samples = [
            response_sample(
                number,
                each["prompt"],
                each["gold"],
                each["responses"][i],
                **{metric: float(values[number, i])},
            )
            for number, each in enumerate(found)
        ]
        write_samples(folder, name, boundary, samples, layers)
    rows = statistics(values, boundaries, full)
    for i, row in enumerate(rows):
        row["metrics"] = {
            "sample_len": documents,
            f"{metric},none": row["value"],
            f"{metric}_stderr,none": row["stderr"] or 0.0,
            "f1,none": min(1.0, row["value"] * 0.85 + 0.12 * (1 - i / len(rows))),
            "length_ratio,none": 1.0 + 3.0 * (1 - i / len(rows)) ** 2,
        }
    best = max(rows, key=lambda row: row["value"])["boundary"]
    worse = [row["boundary"] for row in rows if row["p_value"] and row["p_value"] < 0.05]
    entry = {
        "metric": f"{metric},none",
        "higher_is_better": True,
        "split": split,
        "documents": documents,
        "boundaries": rows,
        "best": best,
        "margin": str(TENTH),
        "clusters": None,
        "not_chosen": None,
        "same_as_base": False,
        "collapse": max(
            (b for b in range(layers) if set(range(b + 1)) <= set(worse)), default=None
        ),
        "selection": "same documents",
        "optimism": {"value": 0.012, "corrected": rows[best + 1]["value"] - 0.012, "p_value": 0.21},
        "test": None,
    }
    return decided(entry, full)


def made_test(folder: Path, name: str, task: dict[str, Any], documents: int = 30) -> None:
    """Add the confirmation of a task's choice on a test split."""
    full = task["boundaries"][-1]["boundary"]
    boundaries = sorted({-1, task["best"], full, task["smallest_noninferior"] or full})
    everything = list(range(-1, full + 1))
    found, values = generated(documents, everything, seed=77)
    columns = [everything.index(boundary) for boundary in boundaries]
    values = values[:, columns]
    metric = task["metric"].partition(",")[0]
    for i, boundary in enumerate(boundaries):
        samples = [
            response_sample(
                number,
                each["prompt"],
                each["gold"],
                each["responses"][columns[i]],
                **{metric: float(values[number, i])},
            )
            for number, each in enumerate(found)
        ]
        write_samples(folder / "test" / name, name, boundary, samples, full + 1)
    rows = statistics(values, boundaries, full)
    for row in rows:
        row["metrics"] = {task["metric"]: row["value"]}
    task["selection"] = "other documents"
    task["test"] = {"split": "test", "documents": documents, "boundaries": rows, "clusters": None}
    task |= decided(task, full)


def made_trace(layers: int) -> dict[str, Any]:
    """Return the entry of a task in ``trace.json``."""

    def curve(height: float) -> list[dict[str, float]]:
        rise = [height / (1 + np.exp(-(i - 0.6 * layers) / 1.5)) for i in range(layers)]
        return [
            {"layer": i, "mean": p, "median": 0.9 * p, "q25": 0.7 * p, "q75": min(1.0, 1.25 * p)}
            for i, p in enumerate(rise)
        ]

    return {
        "layers": curve(0.7),
        "models": {"full": curve(0.7), "base": curve(0.3), "boundary=20": curve(0.6)},
        "candidate": int(0.6 * layers),
        "candidate_low": int(0.6 * layers) - 2,
        "candidate_high": int(0.6 * layers) + 1,
        "verdict": "The probability of the gold tokens rises sharply at one layer.",
        "documents": 30,
    }


def write_sweep(folder: Path, tasks: dict[str, dict[str, Any]], **more: Any) -> Path:
    """Write ``sweep.json``."""
    content = {
        "signature": SIGNATURE,
        "settings": {"pretrained": "some/model", "peft": "some/adapter", "limit": None},
        "engine": "fork",
        "layers": 32,
        "tasks": tasks,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
