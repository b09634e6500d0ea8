"""What compare refuses or warns about, and its messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import answers, sweep_folder, write

from lm_eval_lora_boundary.compare import compare
from lm_eval_lora_boundary.errors import OutputError, TaskError

TASK = {"task": {"acc,none": answers(10, 1, 0.5)}}


def write_pair(
    folder: Path, ours: dict[str, Any], theirs: dict[str, Any] | None = None
) -> list[Path]:
    for name, options in (("ours", ours), ("theirs", theirs or {})):
        items = options.pop("items", TASK)
        write(folder / "out", items, args={"pretrained": name}, **options)
    return [folder / "out/ours", folder / "out/theirs"]


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        (
            {"documents": {i: f"other {i}" for i in range(10)}},
            r"task: ours \(.*\) and theirs \(.*\) share none of their 10 and 10 documents; "
            "evaluate both on the same split and revision of the data",
        ),
        (
            {"target": "another"},
            r"share none of their 10 and 10 documents \(10 have the same content, but another t",
        ),
        ({"version": 2.0}, r"ours .* used version 2\.0 of the task and theirs .* version 1\.0"),
        ({"samples": False}, r"ours \(.*\) has no samples, which .*; evaluate with --log_samples"),
    ],
)
def test_nothing_to_pair_is_refused_with_a_baseline_and_a_warning_without(
    difference: dict[str, Any], message: str, tmp_path: Path
) -> None:
    ours, theirs = write_pair(tmp_path, difference)
    with pytest.raises(TaskError, match=message) as caught:
        compare([ours], baseline=theirs)
    assert "\n" not in str(caught.value)
    # the first of two models is only a proposal for a baseline, so a warning is enough
    comparison = compare([theirs, ours])
    (line,) = [line for line in comparison.warnings if re.search(message, line)]
    assert line.startswith("not compared: ")
    assert [row["difference"] for row in comparison.records] == [None, None]
    # of three, none is a baseline, but a reader will compare values
    write(tmp_path / "out", TASK, args={"pretrained": "third"})
    lines = compare([theirs, ours, tmp_path / "out/third"]).warnings
    expected = [] if "samples" in difference else [True]
    assert [line.startswith("not comparable: ") for line in lines] == expected


def test_a_model_that_cannot_be_paired_does_not_stop_the_others(tmp_path: Path) -> None:
    ours, theirs = write_pair(tmp_path, {"version": 2.0})
    write(tmp_path / "out", TASK, args={"pretrained": "third"})
    comparison = compare([ours, tmp_path / "out/third"], baseline=theirs)
    p_values = {row["label"]: row["p_value"] for row in comparison.records}
    assert p_values == {"theirs": None, "ours": None, "third": 1.0}
    assert [line for line in comparison.warnings if line.startswith("not compared: task: ours")]


def test_a_baseline_without_samples_is_named(tmp_path: Path) -> None:
    ours, theirs = write_pair(tmp_path, {}, {"samples": False})
    with pytest.raises(TaskError, match=r"theirs \(.*\) has no samples"):
        compare([ours], baseline=theirs)


def test_missing_samples_are_said_once(tmp_path: Path) -> None:
    items = dict.fromkeys(("one", "two", "three"), TASK["task"])
    options = [{"samples": False, "items": items} for _ in range(2)]
    (line,) = compare(write_pair(tmp_path, *options)).warnings
    assert re.search(r"not compared: theirs \(.*\) has no samples", line)


def test_without_samples_different_numbers_of_documents_give_a_warning(tmp_path: Path) -> None:
    items = {"task": {"acc,none": answers(7, 1, 0.5)}}
    paths = write_pair(tmp_path, {"samples": False, "items": items}, {"samples": False})
    (line,) = compare(paths).warnings
    message = r"not compared: task: theirs \(.*\) answered 10 documents and ours .* 7"
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"prompt": "another"}, r"task: 10 of 10 prompts differ between ours and theirs"),
        (
            {"lm_eval_version": "0.4.9"},
            r"several versions of lm-eval.*0\.4\.9: ours.*0\.4\.13: the",
        ),
        ({"generation": {"until": ["x"]}}, r"ours and theirs used different generation arguments"),
    ],
)
def test_different_settings_give_a_warning(
    difference: dict[str, Any], message: str, tmp_path: Path
) -> None:
    ours, theirs = write_pair(tmp_path, difference)
    comparison = compare([ours, theirs], baseline=theirs)
    assert comparison.records[0]["p_value"] is not None
    assert [line for line in comparison.warnings if re.search(message, line)]
    assert not compare([theirs]).warnings


def test_a_warning_about_a_task_appears_once(tmp_path: Path) -> None:
    items = {"task": {"acc,none": answers(10, 1, 0.5), "f1,none": answers(10, 1, 0.5)}}
    ours, theirs = write_pair(tmp_path, {"items": items, "prompt": "another"}, {"items": items})
    comparison = compare([ours], baseline=theirs, metrics=["acc", "f1"])
    assert len([line for line in comparison.warnings if "prompts differ" in line]) == 1


def test_a_task_that_the_baseline_lacks_is_not_compared(tmp_path: Path) -> None:
    ours, theirs = write_pair(tmp_path, {"items": {**TASK, "more": TASK["task"]}})
    comparison = compare([ours], baseline=theirs)
    assert {
        row["task"]: row["p_value"] for row in comparison.records if row["label"] == "ours"
    } == {
        "task": 1.0,
        "more": None,
    }
    assert "more: theirs has no acc,none, so nothing is compared" in comparison.warnings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["f1"]}, r"metric=f1 is not in any of the results: task has acc,none"),
        ({"metrics": ["acc,strict"]}, r"metric=acc,strict is not in any .*task has acc,none"),
        ({"tasks": ["tusk"]}, r"tasks=tusk is not in any of the results; they have task"),
    ],
)
def test_unknown_tasks_and_metrics_are_refused_with_a_list(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, TASK)
    with pytest.raises(TaskError, match=message):
        compare([tmp_path], **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"results": {', r"results_x\.json is not JSON .*evaluate again"),
        ("[]", r"results_x\.json .*JSON object"),
        ('{"scores": 1}', r"results_x\.json has no `results` by task"),
        ('{"results": {"task": 1}}', r"results_x\.json has no `results` by task"),
        ('{"results": {}}', r"no values for any task"),
    ],
)
def test_broken_results_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results_x.json").write_text(content)
    with pytest.raises((OutputError, TaskError), match=message):
        compare([tmp_path])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 11: not a sample as lm-eval logs it"),
        ('{"doc_id": 10}', r"line 11: not a sample .*'doc'"),
        (None, r"line 11: document 0 appears twice"),
    ],
)
def test_broken_samples_are_named(line: str | None, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, TASK)
    (samples,) = file.parent.glob("samples_task_*.jsonl")
    first = samples.read_text().splitlines()[0]
    samples.write_text(samples.read_text() + (first if line is None else line) + "\n")
    with pytest.raises(OutputError, match=message):
        compare([tmp_path])


def test_samples_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    file = write(tmp_path, TASK)
    (samples,) = file.parent.glob("samples_task_*.jsonl")
    samples.write_bytes(samples.read_bytes() + b"\xff\n")
    with pytest.raises(OutputError, match=r"samples_task_.*UTF-8.*; evaluate again"):
        compare([tmp_path])


def test_a_group_without_tasks_is_not_a_group(tmp_path: Path) -> None:
    file = write(tmp_path, TASK)
    content = json.loads(file.read_text()) | {"group_subtasks": {"a": None}}
    file.write_text(json.dumps(content))
    assert [row["task"] for row in compare([tmp_path]).records] == ["task"]


@pytest.mark.parametrize(
    "change",
    [{"value": "0.5"}, {"selection_share": "often"}, {"boundary": "1"}],
    ids=str,
)
def test_a_sweep_with_text_for_numbers_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    folders = [sweep_folder(tmp_path / name, {"task": 1}) for name in ("one", "two")]
    file = folders[0] / "sweep.json"
    content = json.loads(file.read_text())
    content["tasks"]["task"]["boundaries"][2] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"lacks tasks with their metric.*run the sweep again"):
        compare(folders)


def test_paths_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no results_\*\.json and no sweep\.json"):
        compare([tmp_path])
    with pytest.raises(OutputError, match=r"nowhere does not exist"):
        compare([tmp_path / "nowhere"])
    (tmp_path / "samples.jsonl").write_text("{}")
    with pytest.raises(OutputError, match=r"is not a results file"):
        compare([tmp_path / "samples.jsonl"])
    with pytest.raises(OutputError, match=r"nothing to compare"):
        compare([])


def test_a_baseline_must_be_one_model(tmp_path: Path) -> None:
    ours, theirs = write_pair(tmp_path, {})
    with pytest.raises(
        OutputError, match=r"holds the results of 2 models; expected one of: .*ours; .*theirs"
    ):
        compare([ours, theirs], baseline=tmp_path / "out")


def test_command_line(tmp_path: Path) -> None:
    code = (
        "import sys, typer\n"
        "from lm_eval_lora_boundary.cli import compare\n"
        "from lm_eval_lora_boundary.errors import LoraBoundaryError\n"
        "app = typer.Typer(pretty_exceptions_enable=False)\n"
        "app.command()(compare)\n"
        "try:\n    app(sys.argv[1:])\n"
        "except LoraBoundaryError as error:\n    raise SystemExit(f'error: {error}')\n"
    )
    write(tmp_path / "out", TASK)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out"), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("--output", str(tmp_path / "page.pdf"))
    assert "error: output=" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "error: format=word is unknown" in run("--format", "word").stderr
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| model |")  # Markdown where there is no terminal
    done = run("--output", str(tmp_path / "page.html"))
    assert done.stdout == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert "error: format=csv is unknown" in run("--format", "csv").stderr
    assert "────" in run("--format", "table").stdout
