"""Results on the hub: all of them, in the right places, and no text that nobody asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from log_helpers import SECRET, TOKEN, Hub, loads_by

from lm_eval_lora_boundary.harness.loggers.options import logger_options
from lm_eval_lora_boundary.report.command import sweep_command
from lm_eval_lora_boundary.sweeps.logged import log_sweep

RESULTS = "push_results_to_hub=True,hub_results_org=org"
BOTH = f"{RESULTS},push_samples_to_hub=True"
NAMES = {
    *(f"adapter__boundary={k}" for k in range(-1, 4)),
    *(f"adapter__control__boundary={k}" for k in range(-1, 4)),
    "adapter__test__tickets__boundary=1",
}


def files(folder: Path, pattern: str) -> dict[str, Any]:
    """Return lm-eval's files in a folder under the names that they are to have on the hub."""
    return {
        f"adapter__{'__'.join(file.parent.relative_to(folder).parts)}/{file.name}": file
        for file in folder.rglob(pattern)
    }


def test_results_without_samples(hub: Hub, output: Path) -> None:
    log_sweep(output, logger_options([RESULTS]))
    assert hub.created == {"org/lm-eval-results-private": True}
    ((repository, pushed),) = hub.commits
    assert repository == "org/lm-eval-results-private" and not hub.cards
    assert {name.partition("/")[0] for name in pushed} == NAMES
    on_disk = files(output, "results_*.json")
    assert pushed.keys() == on_disk.keys()
    for name, content in pushed.items():
        there, here = json.loads(content), json.loads(on_disk[name].read_text())
        quoting = [note for note in here["config"]["notes"] if note["kind"] == "prompt"]
        assert quoting  # or this test shows nothing
        here["config"]["notes"] = [n for n in here["config"]["notes"] if n not in quoting]
        assert there == here


def test_samples_lie_beside_their_results_in_a_repository_with_a_card(
    hub: Hub, output: Path
) -> None:
    names = "results_repo_name=r,details_repo_name=d,public_repo=True,gated=True"
    log_sweep(output, logger_options([BOTH, names]))
    assert hub.created == {"org/r": False, "org/d": False} and hub.gated == ["org/d auto"]
    results, samples = (files(output, pattern) for pattern in ("results_*.json", "samples_*.jsonl"))
    assert len(samples) == len(NAMES)
    assert hub.files["org/r"].keys() == results.keys()
    assert hub.files["org/d"] == {
        name: file.read_bytes() for name, file in (results | samples).items()
    }
    (card,) = hub.cards
    assert card.startswith("org/d\n") and "config_name: adapter__boundary=2__tickets" in card


@pytest.mark.parametrize("asked", [RESULTS, BOTH])
def test_no_texts_leave_the_machine(hub: Hub, swept: Callable[..., Path], asked: str) -> None:
    output = swept(no_texts=True)
    log_sweep(output, logger_options([asked], no_texts=True))
    pushed = [content for _, some in hub.commits for content in some.values()]
    assert len(pushed) == len(NAMES) * (1 if asked == RESULTS else 2)
    # neither as a text nor token by token
    assert not [each for each in pushed if b"w57" in each or b"prompt begins with" in each]


def test_own_rows_stay_here_unless_samples_are_asked_for(hub: Hub, output: Path) -> None:
    log_sweep(output, logger_options([RESULTS]))
    log_sweep(output, logger_options([f"{RESULTS},push_samples_to_hub=False"]))
    assert not [each for _, some in hub.commits for each in some.values() if b"w57" in each]
    log_sweep(output, logger_options([BOTH]))
    assert [each for each in hub.commits[-1][1].values() if SECRET.encode() in each]


def test_a_hub_that_cannot_be_reached_costs_nothing(
    hub: Hub, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    hub.reachable = False
    options = logger_options([RESULTS])
    log_sweep(output, options)
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.getMessage() == (
        "warning: the hub: not everything was logged (no route to the hub for …); the results are "
        f"in {output}, and the same command logs the rest without scoring again"
    )
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    hub.reachable = True
    for _ in range(2):  # the second time, everything is there
        log_sweep(output, options)
    assert len(hub.commits) == 1 and hub.files["org/lm-eval-results-private"].keys()


def test_a_card_that_cannot_be_written_is_a_warning(
    hub: Hub, output: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads_by(monkeypatch, lambda: {}[0])
    log_sweep(output, logger_options([BOTH]))
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "org/lm-eval-results-private: lm-eval could not write its dataset card" in (
        warning.getMessage()
    )
    log_sweep(output, logger_options([BOTH]))
    assert len(hub.commits) == 2


def test_results_that_changed_are_pushed_again(hub: Hub, output: Path) -> None:
    options = logger_options([RESULTS])
    log_sweep(output, options)
    (file,) = (output / "boundary=2").glob("results_*.json")
    file.write_text(file.read_text().replace('"tickets": {', '"tickets": {"new,none": 1.0,', 1))
    log_sweep(output, options)
    assert [len(some) for _, some in hub.commits] == [len(NAMES), 1]


@pytest.mark.slow
def test_the_command_logs_last_and_keeps_no_token(
    hub: Hub,
    tiny: Callable[..., tuple[Path, Path]],
    task_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, adapter = map(str, tiny())
    output = tmp_path / "out"
    command = ["sweep", "--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"]
    command += ["--include-path", str(task_folder), "--output", str(output), "--limit", "4"]
    command += ["--boundaries", "1", "--device", "cpu", "--no-speed", "--no-confirm"]
    monkeypatch.delenv("HF_TOKEN")
    logging_options = ["--hf_hub_log_args", f"{RESULTS},token={TOKEN}"]
    hub.reachable = False
    first = command_line(*command, *logging_options)
    assert first.code == 0 and first.out.splitlines()[-1].startswith("Report: ")
    (line,) = [line for line in first.err.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: the hub: not everything was logged") and TOKEN not in line
    summary = json.loads((output / "sweep.json").read_text())
    hub.reachable = True
    answered = (output / "answers.sqlite").read_bytes()
    assert command_line(*command, *logging_options).code == 0
    assert command_line(*command).code == 0  # the folder belongs to the same settings
    assert len(hub.files["org/lm-eval-results-private"]) == 3
    assert (output / "answers.sqlite").read_bytes() == answered
    assert json.loads((output / "sweep.json").read_text()) == summary
    assert "hub" not in " ".join(sweep_command(summary["settings"], "out") or ())
    kept = [path for path in output.rglob("*") if path.is_file()]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
