"""What the command prints: the plan, and tables without progress."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lm_eval_lora_boundary.sweeps.rows_csv import rows_csv

Tiny = Callable[..., tuple[Path, Path]]


def test_dry_run_prints_the_plan_and_writes_nothing(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())
    command = [sys.executable, "-W", "ignore", "-m", "lm_eval_lora_boundary", "sweep"]
    command += ["--pretrained", base, "--peft", adapter, "--tasks", "tiny_words,tiny_choices"]
    command += ["--include-path", str(task_folder), "--output", str(tmp_path / "out")]
    command += ["--split", "test", "--race", "--candidates", "trace"]
    done = subprocess.run(
        [*command, "--dry-run", "--device", "cpu", "--batch-size", "10"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "60"},
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("It would take about ")
    # a path is longer than a line, and stays whole
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 60
    text = " ".join(done.stdout.split())
    first = text.index("What it would compute: first a trace of the gold answers")
    assert first < text.index("5 cuts of 4 layers, with the engine fork")
    read = re.search(r"tiny_words: 9 requests under every cut, .* reads ([\d,]+) tokens and", text)
    assert read is not None and int(read[1].replace(",", "")) > 9
    assert "writes at most 90 " in text
    assert "tiny_choices: 27 requests under every cut" in text
    # 2 + 3 + 4 + 5 rows of 4 layers, of 5 runs
    assert "reading takes 70% of the work of 5 separate runs, and so does writing" in text
    assert "a race drops some of the cuts on the way" in text
    assert re.search(r"Memory: up to [\d.]+ GB .* batch of 10 rows", text)
    assert "What 9 documents can show (tiny_words):" in text
    assert not (tmp_path / "out").exists()


def test_a_piped_sweep_prints_its_tables_and_nothing_else(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())
    command = [sys.executable, "-W", "ignore", "-m", "lm_eval_lora_boundary", "sweep"]
    command += ["--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"]
    command += ["--include-path", str(task_folder), "--output", str(tmp_path / "out")]
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "TQDM_DISABLE")}
    done = subprocess.run(
        [*command, "--boundaries", "1", "--device", "cpu", "--limit", "4", "--wide"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert "it/s" not in done.stderr and "bootstrapping" not in done.stderr
    assert "bootstrapping" not in done.stdout
    lines = done.stdout.splitlines()
    (row,) = [line for line in lines if line.startswith("none ")][:1]
    assert len(re.split(r"  +", row)) > 6  # layers, metric, statistics: in one line
    assert lines[-1] == f"Report: {tmp_path / 'out/report.html'}"
    summary = json.loads((tmp_path / "out/sweep.json").read_text())
    assert (tmp_path / "out/sweep.csv").read_text() == rows_csv(summary)
