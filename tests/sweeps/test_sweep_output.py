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
    )
    assert "5 cuts of 4 layers, engine fork" in done.stdout
    assert "tiny_words: 9 requests × 5 cuts" in done.stdout
    assert "tiny_choices: 27 requests × 5 cuts" in done.stdout
    assert "writes at most 450 tokens" in done.stdout
    assert done.stdout.startswith("first traces the gold answers, and then scores only")
    assert "a race drops some of the cuts on the way" in done.stdout
    passes = re.findall(
        r"reads ([\d,]+) tokens(?:.*\n)+?.*through a layer at most ([\d,]+)", done.stdout
    )
    read, passed = (int(number.replace(",", "")) for number in passes[0])
    assert passed == read * 14 + 450 * 4  # 2 + 3 + 4 + 5 rows; written under each
    assert "in 14 layer passes each, 0.70 of the 20 of 5 runs" in done.stdout
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
    (row,) = [line for line in lines if line.startswith("│") and "-1" in line.split("│")[1]][:1]
    assert row.count("│") == 6 + 1  # boundary, metric, three statistics, bleu: in one line
    assert lines[-1] == f"Report: {tmp_path / 'out/report.html'}"
    summary = json.loads((tmp_path / "out/sweep.json").read_text())
    assert (tmp_path / "out/sweep.csv").read_text() == rows_csv(summary)
