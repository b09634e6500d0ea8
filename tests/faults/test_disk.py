"""Disks that are full, folders that cannot be written or vanish, and two processes at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_files import left
from fault_server import Attempt, Fault, FaultServer

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.files import lock
from lm_eval_lora_boundary.sweeps import store as stores
from lm_eval_lora_boundary.sweeps.store import AnswerStore

pytestmark = pytest.mark.timeout(1800)  # a few commands each, whatever else runs
COMMANDS = ("sweep", "trace", "train", "export")
CUT = Cut((1.0, 0.0, 0.5))


def refused(attempt: Attempt) -> str:
    """Check that a command ended with one clear line, and return it."""
    assert attempt.code == 2, attempt.err
    assert "Traceback" not in attempt.err, attempt.err
    *_, line = attempt.err.strip().splitlines()
    assert line.startswith("lora-boundary: error: "), attempt.err
    assert attempt.err.count("lora-boundary: error:") == 1, attempt.err
    return line


def check_full(server: FaultServer, command: Any, tmp_path: Path, sizes: list[int]) -> None:
    """Run a command on disks that take files of some sizes only, and then on one with room."""
    output = tmp_path / "full" / "out"
    output.parent.mkdir()
    for size in sizes:
        attempt = server.run(output.parent, *command(output), fault=Fault(file_size=size))
        assert "cannot be" in refused(attempt), size
    assert server.run(output.parent, *command(output)).code == 0
    whole = tmp_path / "whole" / "out"
    whole.parent.mkdir()
    assert server.run(whole.parent, *command(whole)).code == 0
    assert left(output.parent) == left(whole.parent)


@pytest.mark.parametrize("name", ["sweep", "train"])
def test_a_full_disk(server: FaultServer, commands: Any, tmp_path: Path, name: str) -> None:
    check_full(server, commands[name], tmp_path, [20_000])


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_disks_that_are_full_at_any_time(
    server: FaultServer, commands: Any, tmp_path: Path, name: str
) -> None:
    sizes = {
        "sweep": [0, 1000, 5000, 20_000, 40_000, 60_000],
        "trace": [0, 500, 1500, 5000, 20_000],
        "train": [0, 500, 1500, 5000, 20_000, 40_000],
        "export": [0, 500, 5000, 15_000],
    }
    check_full(server, commands[name], tmp_path, sizes[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_folders_that_cannot_be_made(
    server: FaultServer, commands: Any, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("")
    # nobody makes folders in the second one, not even root
    for output in (tmp_path / "file" / "out", Path("/sys/kernel/out")):
        refused(server.run(tmp_path, *commands[name](output)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sweep", "trace", "train"])
def test_an_output_folder_that_vanishes(
    server: FaultServer, commands: Any, tmp_path: Path, name: str
) -> None:
    """Whenever it happens: one line, or a whole result where the rest could be written anew."""
    output, command = tmp_path / "out", commands[name]
    attempt = server.run(output, *command(output))
    assert attempt.code == 0
    for point in range(2, attempt.points, max(1, attempt.points // 8)):
        vanished = server.run(output, *command(output), fault=Fault(point=point, signal=0))
        if vanished.code != 0:
            refused(vanished)
        assert server.run(output, *command(output)).code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_at_once(
    server: FaultServer, commands: Any, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "out"
    folder, file = {
        "sweep": (output, ".lock"),
        "trace": (output, ".trace-lock"),
        "train": (output / "checkpoints", ".lock"),
        "export": (tmp_path / ".writing-out", ".lock"),
    }[name]
    with closing(lock(folder, file)):
        line = refused(server.run(tmp_path, *commands[name](output)))
    assert "another process is working in" in line
    # what a process leaves that has been killed is no obstacle
    assert server.run(tmp_path, *commands[name](output)).code == 0


def test_a_lock_of_a_file_that_was_removed_locks_nothing(tmp_path: Path) -> None:
    with closing(lock(tmp_path)):
        (tmp_path / ".lock").unlink()
        with closing(lock(tmp_path)), pytest.raises(OutputError, match="another process"):
            lock(tmp_path)


def test_a_store_that_another_program_has_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_PATIENCE", 0.1)
    with closing(AnswerStore(tmp_path)) as store:
        other = sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)
        with closing(other):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OutputError, match=r"locked.* end the program that has opened"):
                store.put([CUT], [(b"x" * 32, ["answer"])])
        store.put([CUT], [(b"x" * 32, ["answer"])])


def test_a_store_that_was_removed_is_not_written_to(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path)) as store:
        (tmp_path / "answers.sqlite").unlink()
        with pytest.raises(OutputError, match="was removed or replaced during the run"):
            store.put([CUT], [(b"x" * 32, ["answer"])])
