"""Ctrl-C ends a command with one line and status 130, and the same command goes on."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from fault_files import left
from fault_server import Fault, FaultServer

pytestmark = pytest.mark.timeout(1800)  # a few commands each, whatever else runs
COMMANDS = ("sweep", "trace", "train", "export", "compare")


def _ours(err: str) -> str:
    """Leave out what Python prints of a Ctrl-C that comes while it forks, and that it ignores."""
    return re.sub(r"Exception ignored in: .*\nTraceback [^\n]*\n(?:  .*\n)*", "", err)


def check(
    server: FaultServer, command: Any, tmp_path: Path, faults: list[Fault], whole: Path
) -> list[str]:
    """Interrupt a command, let it end, and compare; return the lines it printed."""
    output = tmp_path / "interrupted" / "out"
    output.parent.mkdir()
    lines = []
    for fault in faults:
        attempt = server.run(output.parent, *command(output), fault=fault)
        # a run that goes on may end before its time comes, and a second Ctrl-C may be quick
        allowed = (
            {130} | ({0} if fault.cpu else set()) | ({-signal.SIGINT} if fault.again else set())
        )
        assert attempt.code in allowed, attempt.err
        assert "Traceback" not in _ours(attempt.err)
        if attempt.code == 130 and attempt.points:  # it was not just starting
            lines.append(attempt.err.strip().splitlines()[-1])
            assert lines[-1].startswith("lora-boundary: interrupted"), attempt.err
            assert "the same command" in lines[-1]
    assert server.run(output.parent, *command(output)).code == 0
    assert left(output.parent) == left(whole)
    return lines


@pytest.mark.parametrize("name", ["sweep", "train"])
def test_an_interrupt(server: FaultServer, commands: Any, tmp_path: Path, name: str) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    attempt = server.run(whole, *commands[name](whole / "out"))
    assert attempt.code == 0
    faults = [Fault(point=attempt.points // 2, signal=signal.SIGINT)]
    check(server, commands[name], tmp_path, faults, whole)


@pytest.mark.parametrize("old", [None, b"as it was"], ids=["new file", "old file"])
def test_an_interrupted_comparison_leaves_the_file_alone(
    server: FaultServer, commands: Any, tmp_path: Path, old: bytes | None
) -> None:
    page = tmp_path / "out.html"
    arguments = commands["compare"](page.with_suffix(""))
    whole = server.run(tmp_path, *arguments)
    assert whole.code == 0, whole.err
    content = page.read_bytes()
    assert whole.points > 0
    page.unlink()
    if old is not None:
        page.write_bytes(old)
    before = left(tmp_path)
    # a third of the faster of two runs: the first one may have had to compile modules
    again = server.run(tmp_path, *arguments)
    page.unlink()
    if old is not None:
        page.write_bytes(old)
    times = [Fault(cpu=min(whole.cpu, again.cpu) / 3, signal=signal.SIGINT)]
    times += [Fault(point=n + 1, signal=signal.SIGINT) for n in range(whole.points)]
    for fault in times:
        attempt = server.run(tmp_path, *arguments, fault=fault)
        assert (attempt.code, attempt.out) == (130, ""), attempt.err
        lines = attempt.err.splitlines()
        # by then, it may not even have read its options, and has nothing to say
        assert len(lines) == 1 or (fault.cpu is not None and not lines)
        expected = "lora-boundary: interrupted; files are complete or as they were"
        assert all(line.startswith(expected) for line in lines)
        assert left(tmp_path) == before
    assert server.run(tmp_path, *arguments).code == 0
    assert left(tmp_path) == {page.name: content}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupts_at_any_moment(
    server: FaultServer, commands: Any, tmp_path: Path, name: str
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    attempt = server.run(whole, *commands[name](whole / "out"))
    assert attempt.code == 0
    faults = [
        Fault(cpu=attempt.cpu * share / 10, signal=signal.SIGINT) for share in range(1, 8)
    ] + [
        Fault(point=attempt.points * share // 6 + 1, signal=signal.SIGINT, again=again)
        for share in range(3)
        for again in (False, True)
    ]
    lines = check(server, commands[name], tmp_path, faults, whole)
    if name == "train":
        assert any(f"after step {step} of 6" in line for line in lines for step in range(7))
