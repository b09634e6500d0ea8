"""A server that runs commands on a tiny model, and what the commands are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import scores, write
from fault_server import FaultServer

Command = Callable[[Path], list[str]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, task_folder: Path) -> Iterator[FaultServer]:
    with closing(FaultServer(tmp_path_factory.mktemp("server"), task_folder)) as server:
        yield server


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return folders with lm-eval's results of two models."""
    folder = tmp_path_factory.mktemp("results")
    for seed, name in enumerate(("first", "second")):
        tasks = {
            f"task{number}": {"acc,none": scores(200, 10 * number + seed)} for number in (1, 2)
        }
        write(folder / name, tasks, args={"pretrained": f"org/{name}"})
    return [str(folder / "first"), str(folder / "second")]


@pytest.fixture(scope="session")
def commands(tiny: Any, task_folder: Path, results: list[str]) -> dict[str, Command]:
    """Return functions from an output folder to the arguments of a command that writes it."""
    base, adapter = map(str, tiny())
    common = ["--pretrained", base, "--device", "cpu", "--dtype", "float32"]
    adapted = [*common, "--peft", adapter]
    tasks = ["--include-path", str(task_folder), "--tasks"]
    training = ["--include-path", str(task_folder), "--task", "tiny_words", "--lr", "0.01"]
    steps = ["--epochs", "3", "--batch-size", "2", "--save-steps", "1"]
    return {
        "sweep": lambda output: [
            *("sweep", *adapted, *tasks, "tiny_words,tiny_choices", "--batch-size", "10"),
            *("--boundaries", "0,2", "--no-speed", "--output", str(output)),
        ],
        "trace": lambda output: [
            *("trace", *adapted, *tasks, "tiny_words,tiny_choices", "--batch-size", "2"),
            *("--output", str(output)),
        ],
        "train": lambda output: [
            *("train", *common, *training, *steps, "--output", str(output)),
        ],
        "compare": lambda output: ["compare", *results, "--output", f"{output}.html"],
        "export": lambda output: ["export", *adapted, "--boundary", "1", "--force", str(output)],
    }
