"""Cuts that cannot be written exactly are refused, with the reason and a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from export_helpers import load_base, logits, run
from model_helpers import logits as lm_logits
from model_helpers import make
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.fingerprint import weights_sample
from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
    LoraBoundaryError,
    ModelError,
    OutputError,
)
from lm_eval_lora_boundary.exports import adapter as adapter_module
from lm_eval_lora_boundary.exports.api import export


@pytest.mark.parametrize("boundary", [-2, LAYERS, 100])
def test_out_of_range_names_the_range(tiny: Any, tmp_path: Path, boundary: int) -> None:
    base, adapter = tiny()
    with pytest.raises(BoundaryError, match=rf"-1 \(keep none\) to {LAYERS - 1} \(keep all\)"):
        run(base, adapter, boundary, tmp_path / "out")
    with pytest.raises(BoundaryError, match="out of range"):
        export(tiny_model(), adapter, boundary, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("boundary", "message"),
    [
        (-1, "use the base model"),
        ("x", "expected an integer"),
        (None, "no cut is given"),
        (True, "expected an integer"),
        ("auto", "record one with"),
    ],
)
def test_values_that_are_not_boundaries_are_refused(
    tiny: Any, tmp_path: Path, boundary: Any, message: str
) -> None:
    base, adapter = tiny()
    with pytest.raises(BoundaryError, match=message):
        run(base, adapter, boundary, tmp_path / "out")


@pytest.mark.parametrize("chosen", [2, 3])  # of layers 0 to 3; 3 keeps the whole adapter
def test_auto_takes_the_recorded_boundary(tiny: Any, tmp_path: Path, chosen: int) -> None:
    base, source = tiny()
    adapter = tmp_path / "adapter"
    shutil.copytree(source, adapter)
    sha256 = run(base, source, chosen, tmp_path / "source")["adapter_sha256"]
    record = {
        "boundary": chosen,
        "adapter_sha256": sha256,
        "adapter_config_sha256": open_adapter(adapter).config_sha256,
        "base_weights_sample": weights_sample(load_base(base)),
        "task": "gsm8k",
        "metric": "exact_match,strict-match",
        "value": 0.4375,
        "ci_low": None,
        "documents": 200,
    }
    (adapter / "lora_boundary.json").write_text(json.dumps(record))
    facts = run(base, adapter, "auto", tmp_path / "auto")
    assert facts["boundary"] == chosen
    card = (tmp_path / "auto" / "README.md").read_text()
    assert "chose this one on `gsm8k` by `exact_match,strict-match`" in card
    assert "| value | documents |\n| --- | --- |\n| 0.4375 | 200 |" in card
    # the record is about other tensors than the exported ones
    assert not (tmp_path / "auto" / "lora_boundary.json").exists()
    assert "gsm8k" not in (tmp_path / "source" / "README.md").read_text()
    other = load_base(base)
    other.model.embed_tokens.weight.data += 1
    with pytest.raises(BoundaryError, match="another base model"):
        export(other, adapter, "auto", tmp_path / "other")


@pytest.mark.parametrize("init", ["pissa", "olora", "pissa_niter_2"])
@pytest.mark.filterwarnings("ignore:.*pissa.*:UserWarning")
def test_base_rewriting_is_refused_and_merged(tiny: Any, tmp_path: Path, init: str) -> None:
    base, _ = tiny()
    config = lora_config(target_modules=["q_proj"], init_lora_weights=init)
    trained = randomise(peft.get_peft_model(tiny_model(), config), scale=0.01)
    trained.save_pretrained(tmp_path / "adapter")
    for boundary in (1, LAYERS - 1):
        with pytest.raises(AdapterError, match=r"rewrites base weights.*--merge"):
            run(base, tmp_path / "adapter", boundary, tmp_path / "out")
    facts = run(base, tmp_path / "adapter", 1, tmp_path / "out", merge=True)
    assert facts["max_difference"] == 0.0
    merged = make(base, tmp_path / "adapter", boundary=1, merge=True)
    assert torch.equal(logits(load_base(tmp_path / "out")), lm_logits(merged))


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")
def test_tied_embeddings_are_exact_or_refused(
    tiny: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base, adapter = tiny("llama", tied=True, **settings)
    expected = lm_logits(make(base, adapter, boundary=1))
    if "trainable_token_indices" in settings:
        with pytest.raises(AdapterError, match=r"ties its head.*both or none.*--merge"):
            run(base, adapter, 1, tmp_path / "out")
        run(base, adapter, LAYERS - 1, tmp_path / "out")
    else:
        run(base, adapter, 1, tmp_path / "out")
        assert torch.equal(lm_logits(make(base, tmp_path / "out")), expected)
    run(base, adapter, 1, tmp_path / "merged", merge=True)
    found = load_base(tmp_path / "merged")
    torch.testing.assert_close(logits(found), expected, rtol=1e-4, atol=1e-4)
    embeddings, head = found.get_input_embeddings(), found.get_output_embeddings()
    assert not torch.equal(embeddings.weight, head.weight)


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_overwritten_tied_embeddings_are_refused(tiny: Any, tmp_path: Path) -> None:
    base, _ = tiny("llama", tied=True)
    trained = randomise(peft.get_peft_model(tiny_model(tied=True), lora_config()))
    trained.get_input_embeddings().weight.data += 0.1
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    with pytest.raises(AdapterError, match="ties its head"):
        run(base, tmp_path / "adapter", 1, tmp_path / "out")
    run(base, tmp_path / "adapter", 1, tmp_path / "out", merge=True)
    expected = lm_logits(make(base, tmp_path / "adapter", boundary=1, merge=True))
    assert torch.equal(logits(load_base(tmp_path / "out")), expected)


def test_a_cut_without_lora_is_refused(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(
        target_modules=["q_proj"], layers_to_transform=[2], modules_to_save=["embed_tokens"]
    )
    with pytest.raises(AdapterError, match=r"keeps model\.embed_tokens but no LoRA.*--merge"):
        run(base, adapter, 1, tmp_path / "out")
    run(base, adapter, 1, tmp_path / "out", merge=True)


def test_a_boundary_below_the_adapter_is_refused(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(target_modules=["q_proj"], layers_to_transform=[2, 3])
    with pytest.raises(AdapterError, match="the adapter starts at layer 2"):
        run(base, adapter, 1, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")
def test_names_of_older_releases_are_refused_and_merged(tiny: Any, tmp_path: Path) -> None:
    """The adapter is older than fused experts, so PEFT would adapt those of all layers."""
    base, _ = tiny("mixtral")
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for layer in range(LAYERS):
        for expert in range(2):
            for name, (rows, columns) in {"w1": (48, 32), "w2": (32, 48), "w3": (48, 32)}.items():
                path = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}"
                for part, shape in {"lora_A": (4, columns), "lora_B": (rows, 4)}.items():
                    tensor = torch.randn(shape, generator=generator) * 0.3
                    tensors[f"{path}.{name}.{part}.weight"] = tensor
    (tmp_path / "adapter").mkdir()
    lora_config(target_modules=["w1", "w2", "w3"]).save_pretrained(tmp_path / "adapter")
    safetensors.torch.save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"block_sparse_moe.*save it again"):
        run(base, tmp_path / "adapter", 1, tmp_path / "out")
    facts = run(base, tmp_path / "adapter", 1, tmp_path / "out", merge=True)
    assert facts["max_difference"] == 0.0
    # the remedy
    model = peft.PeftModel.from_pretrained(load_base(base), tmp_path / "adapter")
    model.save_pretrained(tmp_path / "again")
    run(base, tmp_path / "again", 1, tmp_path / "adapter-1")
    expected = lm_logits(make(base, tmp_path / "adapter", boundary=1))
    assert torch.equal(lm_logits(make(base, tmp_path / "adapter-1")), expected)


def test_a_different_base_model_is_refused(tiny: Any, tmp_path: Path) -> None:
    _, adapter = tiny()
    with pytest.raises(AdapterError, match="another base"):
        export(tiny_model(hidden_size=64), adapter, 1, tmp_path / "out")
    wrapped = tiny_model()
    peft.get_peft_model(wrapped, lora_config())
    with pytest.raises(ModelError, match="used with an adapter"):
        export(wrapped, adapter, 1, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"check": "tgi"}, "expected vllm"),
        ({"check": "vllm", "merge": True}, "Leave out one"),
        ({"model_args": "peft=x"}, "model_args holds peft"),
        ({"model_args": "no_such_argument=1"}, "no_such_argument"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    tiny: Any, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    base, adapter = tiny()
    with pytest.raises(LoraBoundaryError, match=message):
        run(base, adapter, 1, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", ["scale", "drop", "rank"])
def test_an_export_that_differs_from_the_cut_is_removed(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Loading the folder again reveals a wrong config."""
    base, adapter = tiny(use_rslora=True)
    right = adapter_module.cut_config

    def wrong(*args: Any) -> peft.LoraConfig:
        config = right(*args)
        if harm == "scale":
            config.use_rslora = False
        elif harm == "drop":
            config.target_modules = config.target_modules[:-1]
        else:
            config.rank_pattern = {"q_proj": 3}
        return config

    monkeypatch.setattr(adapter_module, "cut_config", wrong)
    error = AdapterError if harm == "rank" else OutputError
    with pytest.raises(error, match="nothing was written"):
        run(base, adapter, 1, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
