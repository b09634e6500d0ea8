"""What cannot be traced is refused, or counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask, Task
from tiny_tasks import CORPUS_METRICS, words, write_rows
from trace_helpers import Run, Tiny, lines

from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
    LoraBoundaryError,
    ModelError,
    OutputError,
    TaskError,
)
from lm_eval_lora_boundary.traces.api import trace


@pytest.mark.parametrize("option", ["gen_kwargs", "confirm_run_unsafe_code"])
def test_options_that_could_have_no_effect_are_unknown(
    option: str, tiny: Tiny, tmp_path: Path
) -> None:
    """A trace generates nothing."""
    base, adapter = map(str, tiny())
    with pytest.raises(TypeError, match=option):
        trace(base, adapter, "tiny_words", tmp_path / "out", **{option: "do_sample=True"})


def test_documents_that_cannot_be_traced_are_counted(
    run: Run, task_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"question": words(4, 0), "answer": words(3, 0), "gold": 0},
        {"question": words(4, 1), "answer": "", "gold": 1},
        {"question": words(4, 2), "answer": words(129, 0), "gold": 7},
        {"question": words(300, 3), "answer": words(2, 0), "gold": 2},
        # with one token of the prompt it fits into 128, since the last token is never an input
        {"question": words(4, 4), "answer": words(128, 0), "gold": 0},
    ]
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_rows(folder / "rows.jsonl", rows)
    (folder / "corpus_metrics.py").write_text(CORPUS_METRICS)
    for name in ("words", "choices", "last_word"):
        text = (task_folder / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(
            text.replace(f"{task_folder}/validation.jsonl", f"{folder}/rows.jsonl")
        )
    names = ["tiny_words", "tiny_choices", "tiny_last_word"]
    found = run(names, include_path=str(folder))
    kept = {}
    for name in names:
        entry = found["tasks"][name]
        kept[name] = [document["doc_id"] for document in lines(tmp_path / "out", name)]
        assert entry["documents"] == len(kept[name])
        seen = len(rows) - (name == "tiny_choices" and ConfigurableTask is Task)
        assert entry["documents"] + sum(entry["skipped"].values()) == seen
        assert entry["truncated_prompts"] == (1 if name == "tiny_choices" else 2)
    assert kept == {
        "tiny_words": [0, 3, 4],
        "tiny_choices": [0, 1, 3, 4],
        "tiny_last_word": [0, 3, 4],
    }
    assert found["tasks"]["tiny_words"]["skipped"] == {
        "empty gold": 1,
        "gold longer than the context": 1,
    }
    # there is no such choice; 0.5 makes no request then
    no_choice = 0 if ConfigurableTask is Task else 1
    assert found["tasks"]["tiny_choices"]["skipped"]["empty gold"] == no_choice
    assert "tiny_words: left out 1 with empty gold, 1 with gold longer" in caplog.text
    assert "2 prompts are longer than max_length=128" in caplog.text


def test_one_document_has_no_candidate(run: Run) -> None:
    entry = run("tiny_words", limit=1)["tasks"]["tiny_words"]
    assert [entry[f"candidate{end}"] for end in ("", "_low", "_high")] == [None] * 3
    assert "one document" in entry["verdict"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tasks": "tiny_text"}, TaskError, "perplexity"),
        ({"tasks": "tiny_silent"}, TaskError, "6 with empty gold"),
        ({"tasks": "tiny_wrods"}, TaskError, "did you mean"),
        ({"boundaries": "1,9"}, BoundaryError, "9"),
        ({"document": 99}, TaskError, "document=99 is not among the 6"),
        ({"document": -1}, LoraBoundaryError, "document=-1"),
        ({"batch_size": 0}, LoraBoundaryError, "batch_size=0"),
        ({"limit": -3}, LoraBoundaryError, "limit=-3"),
        ({"split": "dev"}, LoraBoundaryError, "split='dev'"),
        ({"model_args": "peft=x"}, ModelError, "peft"),
    ],
)
def test_errors_are_one_line(
    settings: dict[str, Any], error: type[Exception], message: str, run: Run
) -> None:
    with pytest.raises(error, match=message) as caught:
        run(**({"tasks": "tiny_words"} | settings))
    assert "\n" not in str(caught.value)


def test_a_missing_adapter_or_an_unusable_folder_is_refused(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = tiny()
    (tmp_path / "file").write_text("")
    options: dict[str, Any] = {"include_path": str(task_folder), "device": "cpu"}
    with pytest.raises(OutputError, match="cannot be written"):
        trace(str(base), adapter, "tiny_words", tmp_path / "file/out", **options)
    with pytest.raises(AdapterError):
        trace(str(base), tmp_path / "none", "tiny_words", tmp_path / "out", **options)
