"""Base models of which some weights are offloaded by accelerate, and exist only while they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import transformers
from tiny_models import LAYERS, save_adapter, tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.base_model import empty_model
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.errors import AdapterError, ModelError

INVOCATION = [7, 8]
INPUTS = torch.tensor([[9, *INVOCATION, 11, 12]])


@pytest.fixture
def offloaded(tmp_path: Path) -> Callable[[], Any]:
    """Return a model whose embedding is on the disk between calls."""

    def load() -> Any:
        tiny_model().save_pretrained(tmp_path / "base")
        blocks = ("model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head")
        device_map = dict.fromkeys(blocks, "cpu") | {"model.embed_tokens": "disk"}
        model = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "base", device_map=device_map, offload_folder=tmp_path / "offload"
        )
        del model.hf_device_map  # by which PEFT would move the weights, if there were a GPU
        assert next(model.parameters()).is_meta
        return model.eval()

    return load


def logits(model: Any, adapter: Path, boundary: int) -> torch.Tensor:
    cut = load_adapter(model, open_adapter(adapter), lowest_dropped=boundary + 1)
    cut.move(boundary)
    with torch.no_grad():
        computed: torch.Tensor = cut.model(INPUTS).logits
    return computed


@pytest.mark.parametrize("boundary", [1, LAYERS - 1])
@pytest.mark.parametrize(
    "config",
    [{"alora_invocation_tokens": INVOCATION}, {"modules_to_save": ["norm"]}],
    ids=["activated", "outside the layers"],
)
def test_an_offloaded_embedding_changes_nothing(
    config: dict[str, Any], boundary: int, offloaded: Callable[[], Any], tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model(), **config)
    expected = logits(tiny_model(), adapter, boundary)
    assert torch.equal(logits(offloaded(), adapter, boundary), expected)


@pytest.mark.filterwarnings("ignore:aLoRA is currently only supported:UserWarning")
@pytest.mark.parametrize(
    ("config", "message"),
    [({"task_type": None}, "never activates"), ({}, "are not all tokens of this base model")],
)
def test_activated_adapters_are_checked_in_offloaded_models(
    config: dict[str, Any], message: str, offloaded: Callable[[], Any], tmp_path: Path
) -> None:
    tokens = INVOCATION if config else [7, 64]
    settings = config | {"alora_invocation_tokens": tokens}
    adapter = save_adapter(tmp_path / "adapter", tiny_model(), **settings)
    with pytest.raises(AdapterError, match=message):
        load_adapter(offloaded(), open_adapter(adapter), lowest_dropped=2)


def test_adapters_whose_values_peft_would_lose_are_refused(
    offloaded: Callable[[], Any], tmp_path: Path
) -> None:
    saved = save_adapter(tmp_path / "saved", tiny_model(), modules_to_save=["embed_tokens"])
    plain = save_adapter(tmp_path / "plain", tiny_model())
    whole = accelerate.cpu_offload(tiny_model(), execution_device=torch.device("cpu"))
    for model, adapter in ((offloaded(), saved), (whole, plain)):
        with pytest.raises(AdapterError, match="the values would be lost"):
            load_adapter(model, open_adapter(adapter), lowest_dropped=2)


def test_a_model_without_weights_cannot_show_the_depth_of_a_module(tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model(), modules_to_save=["norm"])
    with pytest.raises(ModelError, match="its weights are not loaded; evaluate this adapter in"):
        load_adapter(empty_model(tiny_model().config), open_adapter(adapter), lowest_dropped=2)
