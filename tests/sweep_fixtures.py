"""Fixtures for sweeps and traces of tiny models on small tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tiny_tasks import write_tasks

from lm_eval_lora_boundary import sweep
from lm_eval_lora_boundary.harness.tasks import task_manager
from lm_eval_lora_boundary.sweeps import run as sweep_flow
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.traces import run as trace_flow


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def managers() -> Callable[..., Any]:
    """Return a ``task_manager`` that reads its thousands of files only once."""
    known: dict[str, Any] = {}

    def remember(include_path: str | None, metadata: Any) -> Any:
        if str(include_path) not in known:
            known[str(include_path)] = task_manager(include_path, metadata)
        return known[str(include_path)]

    return remember


@pytest.fixture
def fast_tasks(managers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read lm-eval's task files once for all tests that use this."""
    monkeypatch.setattr(sweep_flow, "task_manager", managers)
    monkeypatch.setattr(trace_flow, "task_manager", managers)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with closing(AnswerStore(tmp_path / "store")) as store:
        yield store


@pytest.fixture
def run(
    tiny: Callable[..., tuple[Path, Path]], task_folder: Path, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Return ``sweep`` of a tiny model on tiny tasks."""

    def run(tasks: str = "tiny_words", output: str = "out", **settings: Any) -> dict[str, Any]:
        base, adapter = tiny()
        defaults: dict[str, Any] = {
            "include_path": str(task_folder),
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 20,
            "peft": adapter,
        }
        settings = {"pretrained": str(base)} | defaults | settings
        settings["pretrained"] = str(settings["pretrained"])
        return sweep(tasks=tasks, output=tmp_path / output, **settings)

    return run


@pytest.fixture(scope="module")
def settings(tiny: Callable[..., tuple[Path, Path]], task_folder: Path) -> dict[str, Any]:
    """Return a tiny model and tasks as settings; ``tiny_drawn`` is one of the tasks."""
    base, adapter = tiny()
    named = {"pretrained": str(base), "peft": str(adapter), "include_path": str(task_folder)}
    # the examples of a prompt are drawn at random, one document after the other
    text = (task_folder / "words.yaml").read_text().replace("tiny_words", "tiny_drawn")
    text = text.replace("{sampler: first_n}", "{sampler: default}")
    (task_folder / "drawn.yaml").write_text(text)
    return named | {"dtype": "float32", "device": "cpu"}
