"""A tiny base model on disk and a task to train it on."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
import trl
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tiny_models import tiny_model
from train_helpers import CHAT, DOCS, TASK, Interrupted, WriteTask

from lm_eval_lora_boundary.harness import tasks as task_loading
from lm_eval_lora_boundary.train.settings import TrainSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama; its byte-level tokenizer adds <s> and has a chat template."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        [f"{doc['question']}\nAnswer: {doc['answer']}" for doc in DOCS],
        tokenizers.trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT,
    ).save_pretrained(folder)
    tiny_model(vocab_size=320).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def only_test_tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave lm-eval's own tasks out of the index, which would take seconds to build."""
    if request.node.name != "test_command_line":
        without_defaults = functools.partial(TaskManager, include_defaults=False)
        monkeypatch.setattr(task_loading, "TaskManager", without_defaults)


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """Return a function that writes a task to ``tmp_path/tasks`` and returns its name."""

    def write(docs: list[dict[str, Any]] = DOCS, name: str = "sums", **config: Any) -> str:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        for split in ("train", "test"):
            lines = "".join(json.dumps(doc) + "\n" for doc in docs)
            (folder / f"{name}-{split}.jsonl").write_text(lines, "utf-8")
        files = {split: str(folder / f"{name}-{split}.jsonl") for split in ("train", "test")}
        settings = TASK | {"task": name, "dataset_kwargs": {"data_files": files}} | config
        settings = {key: value for key, value in settings.items() if value is not None}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        return name

    return write


@pytest.fixture
def settings(base: Path, write_task: WriteTask, tmp_path: Path) -> TrainSettings:
    """Settings of a run with 2 epochs of 3 steps."""
    return TrainSettings(
        pretrained=str(base),
        task=write_task(),
        include_path=str(tmp_path / "tasks"),
        epochs=2,
        lr=1e-2,
        batch_size=4,
        micro_batch_size=2,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture
def lm(base: Path) -> HFLM:
    return HFLM(str(base), device="cpu", batch_size=1)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def after(forward_passes: int) -> None:
        original, count = trl.SFTTrainer.training_step, iter(range(10**6))

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if next(count) == forward_passes:
                monkeypatch.setattr(trl.SFTTrainer, "training_step", original)
                raise Interrupted
            return original(self, *args, **kwargs)

        monkeypatch.setattr(trl.SFTTrainer, "training_step", step)

    return after
