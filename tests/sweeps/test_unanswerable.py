"""Requests that a model cannot answer are refused before anything is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_tokenizer
from tiny_tasks import COMMON, write_rows

from lm_eval_lora_boundary.errors import TaskError

Run = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.usefixtures("fast_tasks")


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    for split in ("train", "validation", "test"):
        write_rows(folder / f"{split}.jsonl", [{"question": "", "answer": "w1"}] * 3)
    generation = (
        "generation_kwargs: {until: [], max_gen_toks: 4}\nmetric_list: [{metric: exact_match}]"
    )
    spaced = COMMON.format(folder=folder).replace('"{{answer}}"', '" {{answer}}"')
    for name, text in (("nothing", "{{question}}"), ("new", "w1 <new> w2")):
        (folder / f"{name}.yaml").write_text(
            f"task: {name}\n{COMMON.format(folder=folder)}\noutput_type: generate_until\n"
            f'doc_to_text: "{text}"\n{generation}\n'
        )
        (folder / f"{name}_scored.yaml").write_text(
            f"task: {name}_scored\n{spaced}\noutput_type: loglikelihood\n"
            f'doc_to_text: "{text}"\nmetric_list: [{{metric: acc}}]\n'
        )
    return folder


@pytest.mark.parametrize("engine", ["fork", "toggle"])
def test_an_empty_prompt(run: Run, engine: str) -> None:
    with pytest.raises(TaskError, match="nothing: the prompt of a document is empty"):
        run("nothing", engine=engine, model_args={"add_bos_token": False})


@pytest.mark.parametrize("task", ["new", "new_scored"])
def test_a_token_without_a_row(run: Run, task: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<new>"] + [f"<more{i}>" for i in range(200)])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(
        TaskError, match=rf"^{task}: the text has token \d+ .*embedding has \d+ rows"
    ):
        run(task, model_args={"tokenizer": str(tmp_path / "tokenizer")})


def test_several_responses(run: Run) -> None:
    with pytest.raises(TaskError, match="num_return_sequences=2: lm-eval takes one response"):
        run("new", gen_kwargs="num_return_sequences=2")
