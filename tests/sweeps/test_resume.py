"""A resumed sweep loses nothing, answers nothing twice, and uses no other run's answers."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tiny_models import LAYERS, save_adapter, tiny_model

from lm_eval_lora_boundary import trace
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.sweeps.store import AnswerStore

Tiny = Callable[..., tuple[Path, Path]]
CUT = Cut((1.0, 0.0, 0.5))
TRIAL = 3  # batches in which an engine is tried
TASKS = "tiny_words,tiny_choices,tiny_last_word,tiny_text"


def test_repeating_a_sweep_answers_nothing_again(
    run: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    run(TASKS)
    before = (tmp_path / "out/sweep.json").read_bytes()
    from lm_eval_lora_boundary.forward.fork import Fork

    answered = []
    answer = Fork._answer
    monkeypatch.setattr(Fork, "_answer", lambda *a: answered.append(a) or answer(*a))
    run(TASKS)
    assert (tmp_path / "out/sweep.json").read_bytes() == before
    assert len(answered) == TRIAL
    run(TASKS, boundaries=[0, 1], confirm=False, force=True)
    assert len(answered) == 2 * TRIAL


SCRIPT = """
import sys, time
from lm_eval_lora_boundary.forward.fork import Fork
from lm_eval_lora_boundary import sweep
answer = Fork._answer
Fork._answer = lambda *a: (time.sleep({delay}), answer(*a))[1]
sweep({base!r}, {adapter!r}, {tasks!r}, {output!r}, include_path={folder!r}, dtype="float32",
      device="cpu", batch_size=10)
"""


@pytest.mark.slow
def test_a_sweep_killed_at_any_moment_resumes(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())

    def start(output: str, delay: float) -> subprocess.Popen[bytes]:
        code = SCRIPT.format(
            delay=delay,
            base=base,
            adapter=adapter,
            tasks="tiny_words,tiny_choices",
            output=str(tmp_path / output),
            folder=str(task_folder),
        )
        # hash seeds differ between processes: nothing stored may depend on the order of a set
        return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])

    assert start("whole", 0).wait() == 0
    stored = 0
    for kill in range(3):
        process = start("killed", 0.3)
        database = tmp_path / "killed/answers.sqlite"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if database.exists() and count(database) > stored:
                break
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before it was killed ({kill})"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert count(database) > stored
        stored = count(database)
    assert start("killed", 0).wait() == 0
    whole, killed = (tmp_path / name / "sweep.json" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


def count(database: Path) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM answers_by_cut").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_other_adapters_prompts_and_precisions_get_their_own_answers(
    run: Any, tmp_path: Path
) -> None:
    base = tiny_model("llama")
    folder = save_adapter(tmp_path / "adapter", base)
    first = run("tiny_last_word", peft=folder)
    shutil.rmtree(folder)
    save_adapter(folder, tiny_model("llama"), r=2)
    for settings in ({"peft": folder}, {"dtype": "bfloat16"}, {"num_fewshot": 1}):
        again = run("tiny_last_word", force=True, **({"peft": folder} | settings))
        fresh = run("tiny_last_word", output="fresh", **({"peft": folder} | settings))
        shutil.rmtree(tmp_path / "fresh")
        assert again == fresh
        assert again["tasks"] != first["tasks"]


def test_one_process_at_a_time(run: Any, tmp_path: Path) -> None:
    with (
        closing(AnswerStore(tmp_path / "out")),
        pytest.raises(OutputError, match=r"another process is working in .*; wait for it"),
    ):
        run()
    run()


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path / "out")) as store:
        store.put([CUT], [(bytes([i]) * 32, ["answer"]) for i in range(10)])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(OutputError, match=r"full\. Answers stored so far are safe"):
            store.put([CUT], [(b"x" * 32, ["long " * 10_000])])
    with closing(AnswerStore(tmp_path / "out")) as store:
        assert len(store.get([bytes([i]) * 32 for i in range(10)], CUT)) == 10
        assert not store.get([b"x" * 32], CUT)


def test_a_folder_that_cannot_be_written(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run(output="file")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="cannot be written"):
            run(output="closed")


def test_a_damaged_store_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/answers.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(OutputError, match=r"answers\.sqlite cannot be used"):
        run()


@pytest.mark.usefixtures("fast_tasks")
def test_a_sweep_of_another_adapter_removes_the_first_ones_files(
    run: Any, tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    shared: Any = {"include_path": str(task_folder), "dtype": "float32", "device": "cpu"}
    trace(*map(str, tiny()), "tiny_words", tmp_path / "out", **shared)
    first = run(metric="bleu")
    assert (tmp_path / "out/test/tiny_words").is_dir()
    page = tmp_path / "out/report.html"
    assert "Trace and sweep" in page.read_text()
    other = save_adapter(tmp_path / "adapter", tiny_model("llama"), r=2)
    run(peft=other, boundaries=[1], confirm=False, force=True)
    assert "Trace and sweep" not in page.read_text()
    folders = {path.name for path in (tmp_path / "out").glob("boundary=*")}
    assert folders == {"boundary=-1", "boundary=1", f"boundary={LAYERS - 1}"}
    assert not (tmp_path / "out/test").exists()
    assert run(metric="bleu", force=True) == first
