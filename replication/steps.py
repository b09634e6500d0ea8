"""The steps of a seed of a data set: the command of each, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cuts import cuts_to_test, sizes
from .plan import CONTROLS, EARLIER, LOWER_LAYERS, RETENTION, Data, Plan

LORA_BOUNDARY = ("-m", "lm_eval_lora_boundary")
ORDERS = ("-m", "replication.orders")
TRAIN = "train"  # the step that trains a seed's own adapter
# families besides the boundaries, whose cuts of the same size are tested too
FAMILIES = ("lower", "random:1", "random:2", "random:3", "norm", "output", "map")


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        work: Folder for adapters, answers and other files that are not published.
        records: Folder for what is published.
        base: Arguments that name the base model.
        dtype: Precision of training and of scoring.
    """

    work: Path
    records: Path
    base: tuple[str, ...]
    dtype: str = "bfloat16"

    def record(self, data: str, seed: int, step: str) -> Path:
        """Return the file of a step's numbers."""
        return self.records / data / f"seed={seed}" / f"{step}.json"

    def read(self, data: str, seed: int, step: str) -> dict[str, Any]:
        """Return a step's numbers."""
        content: dict[str, Any] = json.loads(self.record(data, seed, step).read_text("utf-8"))
        return content


@dataclass(frozen=True)
class Step:
    """A step of a seed of a data set.

    Attributes:
        data: The data set.
        seed: The training seed.
        name: Its name, which is that of its record.
        kind: ``train``, ``trace``, ``orders`` or ``sweep``.
        output: Folder that its command writes.
        prepare: Writes what the command needs, and returns its arguments for Python.
        training: Name of the step that trains the adapter it reads; None for training itself.
        adapter: Folder of that adapter.
    """

    data: Data
    seed: int
    name: str
    kind: str
    output: Path
    prepare: Callable[[], Sequence[str]]
    training: str | None = None
    adapter: Path | None = None


def all_steps(plan: Plan, datasets: Sequence[Data], places: Places) -> list[Step]:
    """Return the steps in the order in which they are run: seed by seed, controls last."""
    steps = []
    for seed in plan.seeds:
        for data in datasets:
            steps += _main(plan, data, seed, places)
        if seed == 0:
            for data in datasets:
                steps += _controls(plan, data, seed, places) if data.controls else []
    return steps


def _main(plan: Plan, data: Data, seed: int, places: Places) -> list[Step]:
    rows = plan.rows[data.name]
    work = places.work / data.name / f"seed={seed}"
    adapter = work / f"adapter{_rows(rows.train)}"
    validation = ("--split", "validation")
    both = f"{data.task},{data.gold_task}"
    train = _train(places, data, seed, adapter, rows.train, "--save-epochs")

    def step(name: str, kind: str, count: int | None, *arguments: str) -> Step:
        output = work / f"{name}{_rows(count)}"
        command = (
            *_command(kind, output),
            *places.base,
            *("--dtype", places.dtype, "--peft", str(adapter)),
            *arguments,
            *_limit(count),
        )
        return Step(data, seed, name, kind, output, lambda: command, TRAIN, adapter)

    controls = ("--control", ",".join(RETENTION))
    test = work / f"test{_rows(rows.test)}"

    def test_command() -> Sequence[str]:
        chosen = places.read(data.name, seed, "choose")
        cuts = cuts_to_test(
            chosen,
            data,
            places.read(data.name, seed, "orders")["orders"],
            places.read(data.name, seed, "trace"),
        )
        work.mkdir(parents=True, exist_ok=True)
        listed = work / "cuts.txt"
        listed.write_text("".join(f"{cut}\n" for cut in cuts), "utf-8")
        return (
            *_command("sweep", test),
            *places.base,
            *("--dtype", places.dtype, "--peft", str(adapter), "--tasks", both, "--split", "test"),
            *("--family", f"file:{listed}", "--no-speed"),
            *_limit(rows.test),
        )

    return [
        Step(data, seed, TRAIN, "train", adapter, lambda: train),
        step("trace", "trace", rows.trace, "--tasks", data.task, *validation, "--gradient"),
        step(
            *("orders", "orders", rows.orders, "--tasks", data.gold_task, *validation),
            *("--family", ",".join(FAMILIES)),
        ),
        step(
            *("choose", "sweep", rows.choose, "--tasks", both, *validation, *controls),
            *("--no-confirm", "--no-speed"),
        ),
        Step(data, seed, "test", "sweep", test, test_command, TRAIN, adapter),
    ]


def _controls(plan: Plan, data: Data, seed: int, places: Places) -> list[Step]:
    """Return the steps of the adapters that were trained in another way."""
    rows = plan.rows[data.name]
    main = places.work / data.name / f"seed={seed}" / f"adapter{_rows(rows.train)}"
    steps = []
    for name in EARLIER:
        output = main.with_name(f"{name}{_rows(rows.test)}")
        steps.append(_control_test(data, seed, name, TRAIN, main / name, output, plan, places))
    for name, options in CONTROLS.items():
        work = places.work / data.name / f"seed={seed}" / name
        adapter = work / f"adapter{_rows(rows.train)}"
        output = work / f"test{_rows(rows.test)}"

        def train(
            name: str = name, options: tuple[str, ...] = options, adapter: Path = adapter
        ) -> Sequence[str]:
            if name == LOWER_LAYERS:
                options = ("--boundary", str(_trained_up_to(data, seed, places)))
            return _train(places, data, seed, adapter, rows.train, *options)

        steps += [
            Step(data, seed, f"{name}-train", "train", adapter, train),
            _control_test(data, seed, name, f"{name}-train", adapter, output, plan, places),
        ]
    return steps


def _control_test(
    data: Data,
    seed: int,
    name: str,
    training: str,
    adapter: Path,
    output: Path,
    plan: Plan,
    places: Places,
) -> Step:
    """Return the step that scores the whole of another adapter on the test split."""

    def command() -> Sequence[str]:
        layers = places.read(data.name, seed, "choose")["layers"]
        return (
            *_command("sweep", output),
            *places.base,
            *("--dtype", places.dtype, "--peft", str(adapter)),
            *("--tasks", f"{data.task},{data.gold_task}", "--split", "test"),
            *("--boundaries", str(layers - 1), "--no-speed"),
            *_limit(plan.rows[data.name].test),
        )

    return Step(data, seed, f"{name}-test", "sweep", output, command, training, adapter)


def _trained_up_to(data: Data, seed: int, places: Places) -> int:
    """Return the last layer to train: the best boundary, or two thirds if that is an end."""
    chosen = places.read(data.name, seed, "choose")
    return sizes(chosen, data)[0] - 1


def _train(
    places: Places, data: Data, seed: int, output: Path, limit: int | None, *options: str
) -> Sequence[str]:
    """Return the command that trains with the paper's recipe, which is the default of ``train``."""
    return (
        *_command("train", output),
        *places.base,
        *("--dtype", places.dtype, "--task", data.task, "--seed", str(seed)),
        *options,
        *_limit(limit),
    )


def _command(kind: str, output: Path) -> tuple[str, ...]:
    program = ORDERS if kind == "orders" else (*LORA_BOUNDARY, kind)
    return (*program, "--output", str(output))


def _limit(count: int | None) -> tuple[str, ...]:
    return () if count is None else ("--limit", str(count))


def _rows(count: int | None) -> str:
    """Return the end of a folder's name: other rows make another run."""
    return "" if count is None else f"-{count}"
