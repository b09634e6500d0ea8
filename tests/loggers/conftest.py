"""A finished sweep, and stand-ins for the hub, W&B and trackio."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, HfApi
from log_helpers import SECRET, STAND_INS, TOKEN, Hub, loads_by

from lm_eval_lora_boundary import sweep


@pytest.fixture(scope="session")
def swept(
    tiny: Callable[..., tuple[Path, Path]],
    task_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Return a function that returns the output folder of a sweep of somebody's own rows."""
    folder = tmp_path_factory.mktemp("swept")
    rows = [{"prompt": f"{SECRET} w{i}", "response": f"w{i % 4} w9"} for i in range(16)]
    (folder / "tickets.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    base, adapter = map(str, tiny())

    def run(*, no_texts: bool = False) -> Path:
        output = folder / f"{no_texts}"
        if not output.exists():
            sweep(
                *(base, adapter, None, output),
                data=folder / "tickets.jsonl",
                control="tiny_choices",
                include_path=str(task_folder),
                device="cpu",
                dtype="float32",
                limit=4,
                confirm=False,
                no_texts=no_texts,
            )
            # as if a cut had been chosen and tested
            shutil.copytree(output / "boundary=1", output / "test/tickets/boundary=1")
        return output

    return run


@pytest.fixture
def output(swept: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(swept(), tmp_path / "out"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Stand for the hub, and for the person that the token belongs to."""
    hub = Hub()

    def create_repo(self: HfApi, repo_id: str, *, private: bool, **_: Any) -> None:
        if not hub.reachable:
            raise ConnectionError(f"no route to the hub for {self.token}\nand more lines")
        hub.created[repo_id] = private

    def create_commit(self: HfApi, repo_id: str, operations: Any, **_: Any) -> None:
        files = {}
        for each in operations:
            with each.as_file() as file:
                files[each.path_in_repo] = file.read()
        hub.commits.append((repo_id, files))

    def list_repo_files(self: HfApi, repo_id: str, **_: Any) -> list[str]:
        return [*hub.files[repo_id]]

    def update_repo_settings(self: HfApi, repo_id: str, *, gated: str, **_: Any) -> None:
        hub.gated.append(f"{repo_id} {gated}")

    def newest_results() -> dict[str, Any]:
        return {"results": [{"tickets": {"exact_match,none": 1.0}}]}

    def push_to_hub(self: DatasetCard, repo_id: str, **_: Any) -> None:
        hub.cards.append(f"{repo_id}\n{self}")

    for function in (create_repo, create_commit, list_repo_files, update_repo_settings):
        monkeypatch.setattr(HfApi, function.__name__, function)
    monkeypatch.setattr(HfApi, "whoami", lambda *_, **__: {"name": "me"})
    monkeypatch.setattr(DatasetCard, "push_to_hub", push_to_hub)
    loads_by(monkeypatch, newest_results)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Return a function that imports the stand-in for a package; it leaves with the test."""
    for name in _loaded():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    yield import_module
    for name in _loaded():
        del sys.modules[name]


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("wandb", "trackio")]
