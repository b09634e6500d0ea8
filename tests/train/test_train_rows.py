"""Training rows: evaluation prompts, and a loss on the answer only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.config.task import TaskConfig
from lm_eval.models.huggingface import HFLM
from train_helpers import DOCS, WriteTask, task_stub

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.harness.prompts import Prompts
from lm_eval_lora_boundary.train.data import IGNORED, build_rows, load_task
from lm_eval_lora_boundary.train.loop import make_trainer
from lm_eval_lora_boundary.train.model import add_lora
from lm_eval_lora_boundary.train.settings import TrainSettings


@pytest.mark.parametrize(
    ("chat", "config"),
    [
        (False, {}),
        (True, {}),
        (False, {"gen_prefix": "The sum:"}),
        (True, {"gen_prefix": "The sum:"}),
        (False, {"description": "Add.\n"}),
        (False, {"doc_to_text": "<s>{{question}}"}),  # has its own <s>
    ],
)
def test_prompt_tokens_match_evaluation(
    lm: HFLM,
    write_task: WriteTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chat: bool,
    config: dict[str, Any],
) -> None:
    name = write_task(**config)
    seen: dict[str, list[int]] = {}

    def generate(context: torch.Tensor, **_: Any) -> torch.Tensor:
        seen[lm.tokenizer.decode(context[0])] = context[0].tolist()
        return context

    monkeypatch.setattr(lm, "_model_generate", generate)
    evaluated = load_task(name, str(tmp_path / "tasks"))
    evaluated.set_config("num_fewshot", 0)
    evaluated.build_all_requests(
        system_instruction="Be brief.",
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        chat_template=lm.apply_chat_template if chat else None,
    )
    lm.generate_until(evaluated.instances, disable_tqdm=True)

    task = load_task(name, str(tmp_path / "tasks"))
    prompts = Prompts(task, lm, system_instruction="Be brief.", apply_chat_template=chat)
    rows = build_rows(prompts, task.training_docs(), 2048).rows
    assert sorted(row.tokens[: row.prompt].tolist() for row in rows) == sorted(seen.values())
    assert len(rows) == len(DOCS)


@pytest.mark.parametrize(
    ("chat", "config", "expected"),
    [
        (False, {}, " It is 7.</s>"),
        (False, {"target_delimiter": "\n"}, "\nIt is 7.</s>"),
        (False, {"target_delimiter": ""}, "It is 7.</s>"),
        (True, {}, "It is 7.<|im_end|>"),
        (False, {"gen_prefix": "The sum:"}, " It is 7.</s>"),
        (True, {"gen_prefix": "The sum: "}, "It is 7.<|im_end|>"),
        (False, {"doc_to_target": "all"}, " a</s>"),
        (False, {"doc_to_target": 1, "doc_to_choice": ["no", "yes"]}, " yes</s>"),
    ],
)
def test_answer_text(
    lm: HFLM,
    write_task: WriteTask,
    tmp_path: Path,
    chat: bool,
    config: dict[str, Any],
    expected: str,
) -> None:
    task = load_task(write_task(**config), str(tmp_path / "tasks"))
    prompts = Prompts(task, lm, apply_chat_template=chat)
    row = build_rows(prompts, task.training_docs(), 2048).rows[3]
    assert lm.tokenizer.decode(row.tokens[row.prompt :]) == expected


def test_prompt_and_answer_are_tokenised_together_if_that_keeps_the_prompt(lm: HFLM) -> None:
    prompts = Prompts(SimpleNamespace(**task_stub()), lm)
    for context, target in [("Answer:", " It is 7."), ("What i", "s 1 plus"), ("ab ", " cd")]:
        row = prompts.row(context, target, 2048)
        assert row is not None
        prompt = row.tokens[: row.prompt].tolist()
        assert prompt == lm.tokenizer.encode(context)
        assert lm.tokenizer.decode(row.tokens) == f"<s>{context}{target}</s>"
    joint = lm.tokenizer.encode("Answer: It is 7.")
    row = prompts.row("Answer:", " It is 7.", 2048)
    assert row is not None
    assert row.tokens.tolist() == [*joint, lm.tokenizer.eos_token_id]


@pytest.mark.parametrize("sampler", ["default", "first_n"])
@pytest.mark.parametrize("chat", [False, True])
def test_few_shot_examples_never_include_the_document(
    lm: HFLM, write_task: WriteTask, tmp_path: Path, sampler: str, chat: bool
) -> None:
    docs = DOCS[:4] + DOCS[:1]  # the first one appears twice
    name = write_task(docs, fewshot_split="train", fewshot_config={"sampler": sampler})
    task = load_task(name, str(tmp_path / "tasks"))
    prompts = Prompts(task, lm, num_fewshot=2, apply_chat_template=chat, seed=3)
    for doc in task.training_docs():
        context = prompts.context(doc)
        assert context.count("What is") == 3
        assert context.count(doc["question"]) == 1
        assert context.count("<|im_start|>assistant") == (3 if chat else 0)
    too_many = Prompts(load_task(name, str(tmp_path / "tasks")), lm, num_fewshot=4)
    with pytest.raises(TaskError, match=r"num_fewshot=4.* too few|num_fewshot=4.* only"):
        too_many.context(docs[0])


class PythonTask(Task):
    """A task written in Python, whose targets contain their own delimiter."""

    OUTPUT_TYPE = "generate_until"

    def __init__(self) -> None:
        if ConfigurableTask is Task:  # 0.5
            config = TaskConfig(task="python", output_type="generate_until", target_delimiter="")
            super().__init__(config)
            self.dataset: Any = {}
            return
        self._config = TaskConfig(task="python", output_type="generate_until")
        self._training_docs = None
        self._fewshot_docs = None

    def has_training_docs(self) -> bool:
        return True

    def training_docs(self) -> list[dict[str, Any]]:
        return DOCS[:3]

    def doc_to_text(self, doc: dict[str, Any], _: Any = None) -> str:
        return str(doc["question"])

    def doc_to_target(self, doc: dict[str, Any], _: Any = None) -> str:
        return f" => {doc['answer']}"

    has_validation_docs = has_test_docs = construct_requests = process_results = None
    aggregation = higher_is_better = None


def test_a_task_written_in_python(lm: HFLM) -> None:
    task = PythonTask()
    prompts = Prompts(task, lm, num_fewshot=2)
    rows = build_rows(prompts, task.training_docs(), 2048).rows
    for doc, row in zip(task.training_docs(), rows, strict=True):
        text = lm.tokenizer.decode(row.tokens)
        assert text.endswith(f"\n\n{doc['question']} => {doc['answer']}</s>")
        assert text.count("=>") == 3
        assert text.count(doc["question"]) == 1


def test_num_fewshot_follows_lm_eval(
    lm: HFLM, write_task: WriteTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two = load_task(write_task(num_fewshot=2), str(tmp_path / "tasks"))
    assert Prompts(two, lm, num_fewshot=0).num_fewshot == 0
    assert Prompts(two, lm, num_fewshot=3).num_fewshot == 3
    two = load_task(write_task(num_fewshot=2), str(tmp_path / "tasks"))
    assert Prompts(two, lm).num_fewshot == 2
    none = load_task(write_task(num_fewshot=0), str(tmp_path / "tasks"))
    assert Prompts(none, lm, num_fewshot=3).num_fewshot == 0
    assert "num_fewshot=3 is ignored" in caplog.text


def test_loss_is_on_the_answer_only(settings: TrainSettings, lm: HFLM, tmp_path: Path) -> None:
    task = load_task(settings.task, settings.include_path)
    rows = build_rows(Prompts(task, lm), task.training_docs(), 2048)
    model = add_lora(lm.model, settings)
    trainer = make_trainer(model, lm, rows, settings, tmp_path / "checkpoints")
    rows_by_tokens = {row.tokens.tobytes(): row for row in rows.rows}
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            length = int(mask.sum())
            row = rows_by_tokens[ids[:length].int().numpy().tobytes()]
            assert labels[: row.prompt].eq(IGNORED).all()
            assert labels[row.prompt : length].tolist() == row.tokens[row.prompt :].tolist()
            assert labels[length - 1] == lm.tokenizer.eos_token_id
            assert labels[length:].eq(IGNORED).all()
            seen += 1
    assert seen == len(DOCS)

    # the trainer's loss is the mean over exactly these labels
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    with torch.no_grad():
        logits = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).logits
        loss = trainer.compute_loss(trainer.model, dict(batch))
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )
    torch.testing.assert_close(loss, expected)


def test_long_prompts_lose_their_beginning_and_long_answers_are_left_out(
    lm: HFLM, write_task: WriteTask, tmp_path: Path
) -> None:
    docs = [
        {"question": "x " * 80, "answer": "It is 1."},
        {"question": "short", "answer": "y " * 80},
        {"question": "none", "answer": "  "},
        {"question": "fits", "answer": "It is 2."},
    ]
    task = load_task(write_task(docs), str(tmp_path / "tasks"))
    rows = build_rows(Prompts(task, lm), task.training_docs(), max_length=40)
    summary = rows.summary()
    assert (summary["documents"], summary["used"]) == (4, 2)
    assert (summary["dropped_too_long"], summary["dropped_empty_target"]) == (1, 1)
    assert summary["truncated_prompts"] == 1
    truncated, complete = rows.rows
    assert (len(truncated.tokens), truncated.truncated, complete.truncated) == (40, True, False)
    assert lm.tokenizer.decode(truncated.tokens).endswith("x \nAnswer: It is 1.</s>")
    with pytest.raises(TaskError, match="no training rows: of 4 documents, 1 without a target"):
        build_rows(Prompts(task, lm), task.training_docs(), max_length=2)
