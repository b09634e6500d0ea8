"""Data for the tests of the bundled tasks: made-up rows, and official rows if they are available.

The current directory is a folder with the hub's layout, which replaces the hub. A sacrebleu cache
replaces the download of the WMT files. Neither needs the network.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import pytest
from sacrebleu.dataset import DATASETS
from task_data import write_hub, write_wmt
from task_helpers import SHARED


def use_data(monkeypatch, hub: Path, sacrebleu_cache: Path, datasets_cache: Path) -> None:
    monkeypatch.chdir(hub)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets_cache)
    for name in ("wmt22", "wmt23"):  # sacrebleu reads $SACREBLEU only when it is imported
        monkeypatch.setattr(DATASETS[name], "_outdir", str(sacrebleu_cache / name))
        monkeypatch.setattr(DATASETS[name], "_rawdir", str(sacrebleu_cache / name / "raw"))


@pytest.fixture(scope="session")
def made_up_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("made_up")
    write_hub(root / "hub")
    write_wmt(root / "sacrebleu")
    return root


@pytest.fixture
def made_up(made_up_root, monkeypatch):
    """Use made-up rows of every data set, as if they came from the hub and from WMT."""
    root = made_up_root
    use_data(monkeypatch, root / "hub", root / "sacrebleu", root / "datasets_cache")
    return root


@pytest.fixture(scope="session")
def official_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    shutil.copytree(SHARED / "sacrebleu", root / "sacrebleu", copy_function=shutil.copyfile)
    for path in (root / "sacrebleu").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.fixture
def official(official_root, monkeypatch):
    """Use official rows, from a folder beside the repository."""
    root = official_root
    use_data(monkeypatch, SHARED / "hub", root / "sacrebleu", root / "datasets_cache")
    return root


@pytest.fixture
def wmt_reads(monkeypatch):
    """Return a list that gets the name of every WMT test set that is read."""
    read = []
    original = type(DATASETS["wmt22"]).get_files

    def get_files(self, langpair):
        read.append(self.name)
        return original(self, langpair)

    monkeypatch.setattr(type(DATASETS["wmt22"]), "get_files", get_files)
    return read
