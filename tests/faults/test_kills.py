"""A command that is killed at any moment loses nothing, and ends as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from fault_files import answers, left
from fault_server import Attempt, Fault, FaultServer

KILLS_IN_A_ROW = 5


class Rounds:
    """Kills a command several times, lets it end, and compares what is left."""

    def __init__(self, server: FaultServer, command: Any, tmp_path: Path) -> None:
        self.server, self.command, self.tmp_path = server, command, tmp_path
        self.whole = self.run(tmp_path / "whole" / "out")
        assert self.whole.code == 0, self.whole.err
        self.expected = left(tmp_path / "whole")

    def run(self, output: Path, fault: Fault | None = None) -> Attempt:
        output.parent.mkdir(exist_ok=True)
        # workspaces beside the output count, too
        return self.server.run(output.parent, *self.command(output), fault=fault)

    def check(self, name: str, faults: list[Fault]) -> int:
        """Let faults happen, one after another, then none; return how many kills there were."""
        output = self.tmp_path / name / "out"
        kills, stored = 0, 0
        for fault in faults:
            attempt = self.run(output, fault)
            assert attempt.code in (0, -signal.SIGKILL, -signal.SIGPROF), attempt.err
            kills += attempt.code != 0
            found = len(answers(output / "answers.sqlite"))
            assert found >= stored
            stored = found
        attempt = self.run(output)
        assert attempt.code == 0, attempt.err
        found_files = left(output.parent)
        assert found_files.keys() == self.expected.keys(), faults
        different = [name for name, found in found_files.items() if found != self.expected[name]]
        assert not different, faults
        shutil.rmtree(output.parent)
        return kills


@pytest.fixture
def rounds(
    request: pytest.FixtureRequest, server: FaultServer, commands: Any, tmp_path: Path
) -> Rounds:
    return Rounds(server, commands[request.param], tmp_path)


COMMANDS = ("sweep", "trace", "train", "export")
every_command = pytest.mark.parametrize("rounds", COMMANDS, indirect=True)


@pytest.mark.timeout(1800)
@every_command
def test_a_few_kills(rounds: Rounds) -> None:
    middle, end = rounds.whole.points // 2, rounds.whole.points
    faults = [Fault(cpu=0.7 * rounds.whole.cpu), Fault(point=middle), Fault(point=end)]
    assert rounds.check("killed", faults) > 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
@every_command
def test_kills_at_any_moment(rounds: Rounds) -> None:
    draw = random.Random(0)
    kills = number = 0
    while kills < 50:
        faults = [Fault(cpu=draw.uniform(0, rounds.whole.cpu)) for _ in range(KILLS_IN_A_ROW)]
        kills += rounds.check(f"killed{number}", faults)
        number += 1


@pytest.mark.slow
@pytest.mark.timeout(7200)
@every_command
def test_kills_at_file_operations(rounds: Rounds) -> None:
    """Every operation is a point, or as many as the rounds allow."""
    draw = random.Random(1)
    points = list(range(1, rounds.whole.points + 1))
    draw.shuffle(points)
    kills = 0
    for number in range(0, min(50, len(points)), KILLS_IN_A_ROW):
        faults = [Fault(point=point) for point in points[number : number + KILLS_IN_A_ROW]]
        kills += rounds.check(f"killed{number}", faults)
    assert kills >= min(50, len(points)) // 3  # a run that goes on has fewer operations
