"""What a sweep refuses, before it answers anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
    LoraBoundaryError,
    ModelError,
    TaskError,
)
from lm_eval_lora_boundary.sweeps.store import AnswerStore

Tiny = Callable[..., tuple[Path, Path]]
TASKS = "tiny_words,tiny_choices"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tasks": "tiny_wrods"}, TaskError, "is unknown; did you mean tiny_words"),
        (
            {"metric": "f2"},
            TaskError,
            "metric=f2 is not a metric of tiny_words; expected one of exact_",
        ),
        (
            {"metric": "exact_match,loose"},
            TaskError,
            "tiny_words has no filter loose; expected one of exact_match,none",
        ),
        ({"metric": ",loose"}, TaskError, "has no filter loose; expected one of exact_match,none"),
        ({"num_fewshot": 400}, TaskError, "num_fewshot=400, but there are only 4 examples"),
        ({"boundaries": "0-9"}, BoundaryError, "not within -1 to 3"),
        ({"split": "dev"}, LoraBoundaryError, "split='dev' cannot be used; expected val"),
        ({"limit": -3}, LoraBoundaryError, "limit=-3 cannot be used; expected"),
        ({"limit": 2.5}, LoraBoundaryError, "limit=2.5 cannot be used; expected"),
        ({"batch_size": 0}, LoraBoundaryError, "batch_size=0 cannot be used; expected at"),
        ({"engine": "spoon"}, LoraBoundaryError, "engine='spoon' cannot be used; expected auto"),
        ({"model_args": "boundary=3"}, ModelError, "model_args sets boundary"),
        ({"apply_chat_template": True}, ModelError, "has no chat template"),
        ({"peft": "org/none", "save": True}, AdapterError, "--save needs an adapter in a local"),
        ({"tasks": TASKS, "save": True}, TaskError, "--save takes one task"),
        ({"tasks": TASKS, "race": True}, TaskError, "--race takes one task"),
        ({"include_path": "/nowhere"}, TaskError, "include_path=/nowhere is not a folder"),
        ({"gen_kwargs": "max_gen_toks=999"}, TaskError, "max_gen_toks=999 leaves no room"),
        ({"gen_kwargs": "num_beam=2"}, TaskError, "argument num_beam is unknown; did you mean num"),
        ({"tasks": "tiny_unsafe"}, TaskError, "runs code that the model wrote; give --confirm-run"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("fast_tasks")
def test_mistakes(
    settings: Any, error: Any, message: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = []
    monkeypatch.setattr(AnswerStore, "put", lambda *given: answered.append(given))
    with pytest.raises(error, match=message) as caught:
        run(**settings)
    assert "\n" not in str(caught.value)
    assert not answered


def test_an_error_on_the_command_line_is_one_line(tiny: Tiny, tmp_path: Path) -> None:
    base, adapter = map(str, tiny())
    command = [sys.executable, "-W", "ignore", "-m", "lm_eval_lora_boundary", "sweep"]
    command += ["--pretrained", base, "--peft", adapter, "--tasks", "nothing_like_it"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("lora-boundary: error: task nothing_like_it")
    assert "Traceback" not in done.stderr
