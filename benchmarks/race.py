"""How many evaluations a race saves, and how often its choice is that of the exhaustive sweep.

Replays races on documents drawn with replacement from finished sweeps, or from a synthetic one if
no folder is given:

    python benchmarks/race.py SWEEP_DIR --task lora_boundary_gsm8k --metric exact_match
    python benchmarks/race.py --curve plateau --documents 200

A sweep's folder contains ``boundary=K/samples_TASK_*.jsonl`` for every boundary K.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from lm_eval_lora_boundary.stats.race import Race
from lm_eval_lora_boundary.sweeps.race import evaluations

Matrix = npt.NDArray[np.float64]  # documents × boundaries

SAMPLES = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT.*\.jsonl")
# Accuracy by layer. plateau: near ties in the top third; early: in the top two thirds; decline: a
# slow decline near the top; peak: one best region.
CURVES: dict[str, Callable[[npt.NDArray[np.int_]], Matrix]] = {
    "plateau": lambda layer: 0.1 + 0.5 / (1 + np.exp((16 - layer) / 1.2)),
    "early": lambda layer: CURVES["plateau"](layer + 8),
    "decline": lambda layer: CURVES["plateau"](layer) - 0.004 * np.clip(layer - 21, 0, None),
    "peak": lambda layer: CURVES["plateau"](layer) + 0.04 * np.exp(-(((layer - 21) / 2.5) ** 2)),
}


def read_sweep(
    folder: Path, task: str | None, metric: str | None, filter_name: str | None
) -> tuple[str, list[int], Matrix]:
    """Read one metric of one task at all boundaries.

    Args:
        folder: The folder of the sweep.
        task: Task; None for the only one.
        metric: Metric; None for the first one.
        filter_name: Filter; None for that of the first sample.

    Returns:
        A title, the boundaries, and the values, shape (documents, boundaries).
    """
    files: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("boundary=*/samples_*.jsonl")):
        if match := SAMPLES.fullmatch(path.name):
            boundary = int(path.parent.name.removeprefix("boundary="))
            files.setdefault(match[1], {})[boundary] = path  # the newest, by its name
    if (task is None and len(files) != 1) or (task is not None and task not in files):
        raise SystemExit(f"{folder}: expected --task, one of {', '.join(files) or 'none found'}")
    task = task or next(iter(files))
    columns: dict[int, dict[int, float]] = {}
    for boundary, path in sorted(files[task].items()):
        rows: list[dict[str, Any]] = [
            json.loads(line) for line in path.read_text("utf-8").splitlines()
        ]
        filter_name = filter_name or rows[0]["filter"]
        metric = metric or rows[0]["metrics"][0]
        chosen = [row for row in rows if row["filter"] == filter_name]
        if not chosen or metric not in chosen[0]:
            raise SystemExit(f"{path} has no metric {metric} with the filter {filter_name}")
        columns[boundary] = {row["doc_id"]: float(row[metric]) for row in chosen}
    documents = sorted(next(iter(columns.values())))
    if any(sorted(column) != documents for column in columns.values()):
        raise SystemExit(f"{folder}: the boundaries were evaluated on different documents")
    values = np.array([[column[i] for column in columns.values()] for i in documents])
    return f"{folder} {task} {metric} ({filter_name})", list(columns), values


def synthetic(curve: str, documents: int = 5000, seed: int = 1) -> tuple[str, list[int], Matrix]:
    """Make up right and wrong answers at 31 boundaries.

    An answer depends on the difficulty of the document and on a random walk over the layers, with
    smaller steps in the upper layers. So neighbours mostly agree, and boundaries from 20 on differ
    on about a tenth of the documents.
    """
    rng = np.random.default_rng(seed)
    layers = np.arange(-1, 30)
    steps = np.where(layers < 19, 0.03, 0.008)
    walk = (rng.normal(size=(documents, 31)) * np.sqrt(steps)).cumsum(axis=1)
    difficulty = (rng.normal(size=(documents, 1)) + walk) / np.sqrt(1 + steps.cumsum())
    ability = np.array([NormalDist().inv_cdf(accuracy) for accuracy in CURVES[curve](layers)])
    right = difficulty < ability
    flukes = rng.random(right.shape) < 0.01
    return f"synthetic {curve}", layers.tolist(), (right ^ flukes).astype(np.float64)


def replay(
    matrix: Matrix, boundaries: Sequence[int], error_rate: float, higher_is_better: bool, seed: int
) -> tuple[bool, float, float]:
    """Race on all documents of a matrix.

    Returns:
        Whether the choice is that of the exhaustive sweep, by which factor it needed fewer
        evaluations (the whole adapter and the base model are always evaluated in full), and by how
        much the exhaustive sweep's choice is better.
    """
    race = Race(
        boundaries,
        len(matrix),
        error_rate=error_rate,
        higher_is_better=higher_is_better,
        seed=seed,
    )
    ordered = matrix[race.order]
    columns = {boundary: ordered[:, i] for i, boundary in enumerate(boundaries)}
    for documents in race.rounds:
        race.update({boundary: columns[boundary][:documents] for boundary in race.live})
        if race.done:
            break
    means = dict(zip(boundaries, matrix.mean(axis=0).tolist(), strict=True))
    sign = 1 if higher_is_better else -1

    def choice(among: Sequence[int]) -> int:
        return min(among, key=lambda boundary: (-sign * means[boundary], boundary))

    raced, exhaustive = choice(race.live), choice(boundaries)
    spent = evaluations(race, [min(boundaries), max(boundaries)])
    saved = matrix.size / spent
    return raced == exhaustive, saved, sign * (means[exhaustive] - means[raced])


def report(
    name: str, boundaries: Sequence[int], matrix: Matrix, options: argparse.Namespace
) -> None:
    """Print how much races save on samples of a sweep's documents, by error rate."""
    documents = options.documents or len(matrix)
    print(f"{name}: {len(boundaries)} boundaries, {options.replays} samples of {documents} of "
          f"{len(matrix)} documents")  # fmt: skip
    print("error rate   same choice   evaluations saved (median, 5%, 95%)   regret if not same")
    for error_rate in options.error_rate:
        rng = np.random.default_rng(options.seed)
        same, saved, regret = np.array(
            [
                replay(
                    matrix[rng.integers(len(matrix), size=documents)],
                    boundaries,
                    error_rate,
                    not options.lower_is_better,
                    seed,
                )
                for seed in range(options.replays)
            ]
        ).T
        lost = f"{regret[same == 0].mean():.4f}" if (same == 0).any() else "-"
        low, median, high = np.quantile(saved, [0.05, 0.5, 0.95])
        print(f"{error_rate:10g}   {same.mean():10.1%}   {median:6.2f}x, {low:.2f}x, {high:.2f}x"
              f"{lost:>34}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", nargs="*", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--task")
    parser.add_argument("--metric")
    parser.add_argument("--filter")
    parser.add_argument("--lower-is-better", action="store_true")
    parser.add_argument("--curve", choices=CURVES, default="plateau", help="without SWEEP_DIR")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--documents", type=int, help="documents in a replay; default: all")
    parser.add_argument(
        "--error-rate", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2, 0.5, 0.8]
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for folder in options.sweeps:
        report(*read_sweep(folder, options.task, options.metric, options.filter), options)
    if not options.sweeps:
        report(*synthetic(options.curve), options)


if __name__ == "__main__":
    main()
