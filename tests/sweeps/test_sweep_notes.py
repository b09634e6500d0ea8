"""Notes in the files, the log and the report of a sweep and of the trace before it."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_tokenizer

from lm_eval_lora_boundary import sweep

CHAT = "{{ bos_token }}{{ bos_token }}{% for m in messages %}w10 {{ m.content }} {% endfor %}w11"


@pytest.fixture
def noted(tiny: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Path:
    """Return a copy of the tiny adapter that was trained in another way than it is used."""
    base, adapter = tiny()
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.usefixtures("fast_tasks")
def test_notes_are_printed_once_and_written_everywhere(
    noted: Path, task_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"

    def run() -> dict[str, Any]:
        return sweep(
            *(None, noted, "tiny_words", out),
            candidates="trace",
            include_path=str(task_folder),
            dtype="float32",
            device="cpu",
            limit=2,
            confirm=False,
        )

    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        found = run()
    kinds = ["tokenizer", "chat_template", "ending", "prompt"]
    assert [note["kind"] for note in found["notes"]][: len(kinds)] == kinds
    texts = [note["text"] for note in found["notes"]]
    assert f"add --apply-chat-template, and tokenizer={noted} to --model-args" in texts[1]
    printed = re.findall(r"note: (.*)", caplog.text)
    assert printed == texts
    # a trace generates nothing that could end
    traced = json.loads((out / "trace.json").read_text())
    ours = [note for note in found["notes"] if note["kind"] in kinds]
    assert traced["notes"] == [note for note in ours if note["kind"] != "ending"]
    (results,) = (out / "boundary=-1").glob("results_*.json")
    assert json.loads(results.read_text())["config"]["notes"] == ours
    page = unescape((out / "report.html").read_text())
    assert all(page.count(f"</b> {text}</li>") == 1 for text in texts)
    assert all(text not in found["signature"] for text in texts)

    before = (out / "sweep.json").read_bytes(), (out / "trace.json").read_bytes()
    run()
    assert ((out / "sweep.json").read_bytes(), (out / "trace.json").read_bytes()) == before
