"""The boundary that a sweep has recorded in an adapter folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tiny_models import tiny_model

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.fingerprint import weights_sample
from lm_eval_lora_boundary.errors import BoundaryError


def record(folder: Path, text: str) -> None:
    (folder / "lora_boundary.json").write_text(text)


def test_recorded_boundary(model: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(model["peft"], tmp_path, dirs_exist_ok=True)
    settings = model | {"peft": str(tmp_path), "boundary": "auto"}
    sha256 = open_adapter(tmp_path).sha256
    right = {"adapter_sha256": sha256, "base_weights_sample": weights_sample(tiny_model())}
    older = json.dumps(right | {"boundary": 2})
    right["adapter_config_sha256"] = open_adapter(tmp_path).config_sha256
    record(tmp_path, json.dumps(right | {"boundary": 2}))
    assert LoraBoundaryLM(**settings).boundary == 2
    for text, message in [
        ("{", "cannot be read"),
        ('{"boundary": 2}', "expected keys boundary, adapter_sha256 and"),
        (older, "is from an older version, which did not record the adapter's config.*--save"),
        (json.dumps(right | {"boundary": "2"}), "records boundary='2'"),
        (json.dumps(right | {"boundary": 9}), "this model has 4 layers"),
        (json.dumps(right | {"boundary": 2, "adapter_sha256": "0" * 64}), "other adapter tensors"),
        (json.dumps(right | {"boundary": 2, "base_weights_sample": "0"}), "another base model"),
    ]:
        record(tmp_path, text)
        with pytest.raises(BoundaryError, match=message):
            LoraBoundaryLM(**settings)
    record(tmp_path, json.dumps(right | {"boundary": 2}))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    written = [("lora_dropout", 0.5), ("inference_mode", False), ("peft_version", "0")]
    for name, value in [*written, ("lora_alpha", 64)]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | {name: value}))
        if (name, value) in written:  # these do not affect an evaluation
            assert LoraBoundaryLM(**settings).boundary == 2
        else:
            with pytest.raises(BoundaryError, match=r"for another adapter_config\.json"):
                LoraBoundaryLM(**settings)


def test_equal_tensors_have_equal_hashes(model: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(model["peft"])
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    for name in ("bin", "changed"):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "adapter_model.safetensors").unlink()
    torch.save(dict(reversed(tensors.items())), tmp_path / "bin" / "adapter_model.bin")
    first = min(tensors)
    tensors[first] = tensors[first] + 1e-3
    safetensors.torch.save_file(tensors, tmp_path / "changed" / "adapter_model.safetensors")
    assert open_adapter(tmp_path / "bin").sha256 == open_adapter(folder).sha256
    assert open_adapter(tmp_path / "changed").sha256 != open_adapter(folder).sha256
