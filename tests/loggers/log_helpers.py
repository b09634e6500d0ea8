"""What the stand-ins for the hub, W&B and trackio share with the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pytest

STAND_INS = Path(__file__).parent / "stand_ins"
SECRET = "w41 w57 w33"  # begins every prompt
TOKEN = "hf_thisissecret"


@dataclass
class Hub:
    """What was done with the hub."""

    reachable: bool = True
    created: dict[str, bool] = field(default_factory=dict)  # whether they are private
    gated: list[str] = field(default_factory=list)
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, dict[str, bytes]]:
        """The files of each repository."""
        found: dict[str, dict[str, bytes]] = {}
        for repository, files in self.commits:
            found.setdefault(repository, {}).update(files)
        return found


def loads_by(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]) -> None:
    """Let lm-eval's card load the newest results from the hub in this way."""
    load_dataset = datasets.load_dataset

    def chosen(*arguments: Any, **options: Any) -> Any:
        on_hub = str(options.get("data_files")).startswith("https://")
        return load() if on_hub else load_dataset(*arguments, **options)

    monkeypatch.setattr("datasets.load_dataset", chosen)
    # 0.4 has the function under a name of its own
    monkeypatch.setattr("lm_eval.loggers.evaluation_tracker.load_dataset", chosen, raising=False)
