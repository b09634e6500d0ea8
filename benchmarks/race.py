"""How many evaluations a race saves, and how often its choice is that of the exhaustive sweep.

Replays races on documents drawn with replacement from finished sweeps, or from a synthetic one if
no folder is given:

    python benchmarks/race.py SWEEP_DIR --task lora_boundary_gsm8k --metric exact_match
    python benchmarks/race.py --curve plateau peak --values right rouge --documents 200

A sweep's folder contains ``boundary=K/samples_TASK_*.jsonl`` for every boundary K.

By how many times fewer evaluations a race needs (median, error rate 0.2; 200 replays, 40 with 1000
documents; base model and whole adapter in full), while the capital was split over all challengers,
and now that it follows the leader:

    documents                50           200          1000
    right    plateau  1.8 -> 2.1    2.5 -> 2.8    2.9 -> 3.0
             early    1.4 -> 1.6    1.7 -> 1.8    1.9 -> 1.9
             decline  1.8 -> 2.1    2.5 -> 2.8    3.1 -> 3.3
             peak     1.8 -> 2.2    2.6 -> 3.2    4.0 -> 4.3
    rouge    plateau  1.5 -> 1.7    2.1 -> 2.4    2.7 -> 3.2
             early    1.2 -> 1.3    1.4 -> 1.6    1.7 -> 2.0
             decline  1.5 -> 1.7    2.0 -> 2.4    2.8 -> 3.6
             peak     1.5 -> 1.8    2.1 -> 2.7    3.3 -> 4.8

With ``--latent autoregressive`` and 200 documents it is now 2.7, 1.8, 2.7 and 2.9 for right
answers, and 2.5, 1.7, 2.5 and 2.6 for ROUGE. Means are up to 0.3 higher than medians. The choice
was that of the exhaustive sweep in 90 to 100 % of the replays; it has to be in 80 %.

So the aim of 3 with 200 documents is reached where one region is best and answers are right or
wrong; on a plateau it is reached on average (3.0), not in the median. What else was tried there:

- A coarse grid first. It could at most tell the winner, against whose answers the others then run.
  Even if the winner were known for nothing before the first document, means over 60 replays would
  rise by 1 to 8 % only.
- The whole adapter's result on all documents as a control variate: -1 to 1 %. It says little about
  the differences between others on a plateau.
- No scheme can do much better for ROUGE. Until a share ``f`` of the documents has been seen, ``D``
  unseen ones on which a cut that is ``D`` points behind scores 1 and the leader 0 stay unseen with
  probability ``(1 - f)**D``. So a race that is right for every metric within 0 and 1 cannot count
  on dropping the cut before ``f = 1 - error_rate**(1 / D)``. Dropping all cuts right then, with the
  totals known beforehand, is 2.8 times fewer evaluations on the plateau with 200 documents, and 3.1
  times on the peak.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

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


def walk(rng: np.random.Generator, documents: int, layers: npt.NDArray[np.int_]) -> Matrix:
    """Return difficulties that change from layer to layer, in smaller steps in the upper layers."""
    steps = np.where(layers < 19, 0.03, 0.008)
    changes = (rng.normal(size=(documents, len(layers))) * np.sqrt(steps)).cumsum(axis=1)
    return (rng.normal(size=(documents, 1)) + changes) / np.sqrt(1 + steps.cumsum())


def autoregressive(
    rng: np.random.Generator, documents: int, layers: npt.NDArray[np.int_]
) -> Matrix:
    """Return difficulties of which 0.6 is the document's own; the rest forgets 0.1 per layer."""
    own = rng.normal(size=(documents, len(layers)))
    for i in range(1, len(layers)):
        own[:, i] = 0.9 * own[:, i - 1] + np.sqrt(1 - 0.9**2) * own[:, i]
    return np.sqrt(0.6) * rng.normal(size=(documents, 1)) + np.sqrt(0.4) * own


# how the difficulty of a document, normal with variance 1, depends on the layer
DIFFICULTIES = {"walk": walk, "autoregressive": autoregressive}


def right_or_wrong(rng: np.random.Generator, accuracy: Matrix, difficulty: Matrix) -> Matrix:
    """Return 1 for documents that are easy enough, 0 for others, with 1% flukes."""
    right = difficulty < special.ndtri(accuracy)
    return (right ^ (rng.random(right.shape) < 0.01)).astype(np.float64)


def rouge_like(rng: np.random.Generator, accuracy: Matrix, difficulty: Matrix) -> Matrix:
    """Return scores as of ROUGE on summaries: 0.25 ± 0.16 for the base model to 0.40 ± 0.19.

    Every boundary also words its answer a little differently.
    """
    wording = 0.2 * rng.normal(size=difficulty.shape)
    rank = special.ndtr(-(difficulty + wording) / np.sqrt(1 + 0.2**2))
    mean = 0.25 + 0.3 * (accuracy - 0.1)
    return stats.beta.ppf(rank, 6 * mean, 6 * (1 - mean))


VALUES = {"right": right_or_wrong, "rouge": rouge_like}


def synthetic(
    curve: str, documents: int = 5000, seed: int = 1, values: str = "right", latent: str = "walk"
) -> tuple[str, list[int], Matrix]:
    """Make up answers at 31 boundaries.

    Neighbours mostly agree. With right and wrong answers on a walk, boundaries from 20 on differ on
    about a tenth of the documents.
    """
    rng = np.random.default_rng(seed)
    layers = np.arange(-1, 30)
    difficulty = DIFFICULTIES[latent](rng, documents, layers)
    matrix = VALUES[values](rng, CURVES[curve](layers), difficulty)
    return f"synthetic {curve}, {values}, {latent}", layers.tolist(), matrix


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
    print(
        "error rate   same choice   evaluations saved (median, 5%, 95%; mean)   regret if not same"
    )
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
        error = saved.std() / len(saved) ** 0.5
        print(f"{error_rate:10g}   {same.mean():10.1%}   {median:6.2f}x, {low:.2f}x, {high:.2f}x; "
              f"{saved.mean():.2f}x ±{error:.2f}{lost:>23}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", nargs="*", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--task")
    parser.add_argument("--metric")
    parser.add_argument("--filter")
    parser.add_argument("--lower-is-better", action="store_true")
    without = "without SWEEP_DIR"
    parser.add_argument("--curve", choices=CURVES, nargs="+", default=["plateau"], help=without)
    parser.add_argument("--values", choices=VALUES, nargs="+", default=["right"], help=without)
    parser.add_argument("--latent", choices=DIFFICULTIES, default="walk", help=without)
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
        for values, curve in itertools.product(options.values, options.curve):
            report(*synthetic(curve, values=values, latent=options.latent), options)


if __name__ == "__main__":
    main()
