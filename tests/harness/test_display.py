"""One bar in a terminal, and a line a minute anywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from lm_eval_lora_boundary.harness.display import Display, counting, duration


class Clock:
    """A clock that tests move on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def in_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; within a test, since pytest sets it after the fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_without_a_terminal_there_is_a_line_a_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display("sweep", clock) as display:
        for second in range(200):
            clock.now = 100.0 + second
            display.show(second, 400, f"{second} of 400")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "sweep: 15 % done; 60 of 400, about 6 min left",
        "sweep: 30 % done; 120 of 400, about 5 min left",
        "sweep: 45 % done; 180 of 400, about 4 min left",
    ]


def test_what_was_stored_takes_no_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Half was stored; a tenth of the rest took a minute, so nine minutes are left."""
    display = Display("sweep", clock)
    display.show(50, 100, stored=50)
    clock.now += 60
    display.show(55, 100, stored=50)
    assert capsys.readouterr().err == "sweep: 55 % done; about 9 min left\n"


def test_a_terminal_shows_a_bar_and_removes_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = in_terminal(monkeypatch)
    with Display("gold {answers}", clock) as display:
        display.show(0, 4)
        clock.now += 5
        display.show(1, 4, "1 of 4")
        shown = terminal.getvalue()
        assert "gold {answers}  25% |" in shown and "1 of 4, about 15 s left" in shown
    assert terminal.getvalue().split("\r")[-2].strip() == ""  # wiped out


def test_nothing_is_shown_by_other_processes(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval_lora_boundary.harness.processes.rank", lambda: 1)
    display = Display("sweep", clock)
    clock.now += 1000
    display.show(1, 2)
    assert capsys.readouterr().err == ""


def test_things_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = in_terminal(monkeypatch)
    with counting("trace", 3) as done:
        done(1)
        done(2)
    assert "trace" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0.2, "1 s"), (59.6, "60 s"), (89, "89 s"), (91, "2 min"), (5930, "99 min")),
        *((6100, "1 h 42 min"), (7500, "2 h 5 min")),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
