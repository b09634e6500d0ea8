"""Adapter folders from strangers: refused in one line, without a crash, a hang or a blow-up."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model
from untrusted_helpers import CONFIG, PICKLED, WEIGHTS, no_file, read, refused

from lm_eval_lora_boundary.cuts import patterns
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.cuts.recorded_choice import read_record, recorded_choice
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError

RECORD = "lora_boundary.json"


def change(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def header(folder: Path, content: object, data: bytes = b"", length: int | None = None) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    stated = len(text) if length is None else length
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", stated) + text + data)


def entry(start: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape or (1,), "data_offsets": [start, end]}


# --- the config ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"peft_type": "LORA", "r": 4, "r": 8}', "the key 'r' appears twice"),
        (b'{"peft_type": "LORA", "x": ' + b"[" * 150 + b"]" * 150 + b"}", "nested more than 100"),
        (b"[" * 500_000, "nested more than 100"),
        (b'{"peft_type": "LORA", "x": "' + b"x" * 5_000_000 + b'"}', "larger than 4,194,304 bytes"),
        (b'{"peft_type": "LORA", "r": ' + b"9" * 5000 + b"}", "r is inf; expected an integer"),
        (b'["LORA"]', "peft_type=None"),
    ],
)
def test_a_config_that_is_none(content: bytes, message: str, folder: Path) -> None:
    (folder / CONFIG).write_bytes(content)
    assert message in refused(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 10**9}, "the config says r=1,000,000,000 for"),
        ({"r": 10**9, "target_modules": ["q_proj"]}, "the tensors have ranks up to 4"),
        ({"rank_pattern": {"q_proj": 10**7}}, "rank_pattern['q_proj']=10,000,000 for"),
        ({"rank_pattern": {"q_proj": "8"}}, "rank_pattern['q_proj'] is '8'; expected an integer"),
        ({"rank_pattern": {"(": 8}}, "rank_pattern is '(', which is no regular expression"),
        ({"alpha_pattern": {"q_proj": None}}, "expected a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan; expected a number"),
        ({"target_modules": "(" * 5000}, "which is no regular expression"),
        ({"target_modules": "a{99999999999}"}, "which is no regular expression"),
        ({"exclude_modules": ["x"] * 100_001}, "exclude_modules has 100,001 entries"),
        ({"init_lora_weights": "pissa_niter_1000000000"}, "expected at most 1000"),
        ({"megatron_config": {"x": 1}, "megatron_core": "os"}, "megatron_config is for layers"),
        ({"layers_to_transform": [0], "layers_pattern": "["}, "which is no regular expression"),
        ({"modules_to_save": ["*"]}, "which is no regular expression"),
    ],
)
def test_an_option_that_no_adapter_needs(
    changes: dict[str, Any], message: str, folder: Path
) -> None:
    change(folder, **changes)
    assert message in refused(folder)


def test_a_rank_that_nothing_uses_is_no_reason(folder: Path) -> None:
    change(folder, r=10**9, rank_pattern={".*proj": 4})
    read(folder)


@pytest.mark.parametrize("option", ["target_modules", "exclude_modules"])
def test_an_expression_that_never_ends(
    option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "_SECONDS", 2.0)
    change(folder, **{option: r"([\w.]+)+!"})
    assert f"the regular expressions in {option} cannot be matched" in refused(folder)


def test_an_expression_of_a_real_adapter(folder: Path) -> None:
    change(folder, target_modules=r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj")
    read(folder)


# --- the tensors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "data", "length", "message"),
    [
        ({}, b"", 2**62, "a header of 4,611,686,018,427,387,904 bytes"),
        ({}, b"", 10**7, "truncated or damaged"),
        ({"a": entry(0, 2**62, 2**60)}, b"", None, "truncated or damaged"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"\0" * 4, None, "truncated or damaged"),
        ({"a": entry(4, 8)}, b"\0" * 8, None, "truncated or damaged"),
        ({"a": entry(0, 400, 100)}, b"\0" * 8, None, "truncated or damaged"),
        ({"a": entry(0, 0, 2**63, 2, 0)}, b"", None, "truncated or damaged"),
        ({f"t{i}": entry(0, 0, 0) for i in range(250_001)}, b"", None, "250,001 tensors; at most"),
        (
            b'{"a":%b,"a":%b}' % ((json.dumps(entry(0, 4)).encode(),) * 2),
            b"\0" * 4,
            None,
            "1 names",
        ),
        (b"[" * 1000, b"", None, "truncated or damaged"),
        ({"__metadata__": {"data_offsets": "x"}}, b"", None, "0 names for 1 tensors"),
    ],
)
def test_a_header_that_lies(
    content: object, data: bytes, length: int | None, message: str, folder: Path
) -> None:
    header(folder, content, data, length)
    assert message in refused(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_numbers_that_are_not_finite(number: float, dtype: torch.dtype, folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = max(tensors)
    tensors[name] = tensors[name].to(dtype)
    tensors[name].view(-1)[-1] = number
    save_file(tensors, folder / WEIGHTS)
    assert f"{name} holds NaN or infinite numbers" in refused(folder)


def test_names_that_lead_elsewhere_are_only_names(folder: Path) -> None:
    save_file({"../../../etc/\x1b[31mpasswd": torch.zeros(1)}, folder / WEIGHTS)
    (folder / "adapter_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../../../etc/passwd"}})
    )
    change(folder, modules_to_save=["../../etc/passwd"])
    opened = open_adapter(folder)
    with pytest.raises(AdapterError) as caught:
        load_adapter(tiny_model(), opened, lowest_dropped=None)
    assert str(caught.value).isprintable()


# --- what is no file ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "missing"])
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, PICKLED, RECORD])
def test_what_is_no_file_is_not_read(name: str, kind: str, folder: Path) -> None:
    if name == PICKLED:
        (folder / WEIGHTS).unlink()
    no_file(folder / name, kind)
    if name != RECORD:
        refused(folder)
        return
    opened = open_adapter(folder)
    assert recorded_choice(opened, "0-1", 1) == {}
    with pytest.raises(BoundaryError, match="cannot be read"):
        read_record(opened)


def test_peft_reads_the_file_that_was_checked(folder: Path) -> None:
    """PEFT takes the first of the two names that exists, so the other is not read instead."""
    torch.save(load_file(folder / WEIGHTS), folder / PICKLED)
    no_file(folder / WEIGHTS, "pipe")
    assert "is no regular file" in refused(folder)


def test_a_link_to_a_file_is_read(folder: Path, tmp_path: Path) -> None:
    """The hub's cache consists of links."""
    for name in (CONFIG, WEIGHTS):
        shutil.move(folder / name, tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    read(folder)
