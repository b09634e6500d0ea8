"""Adapter folders from strangers: refused in one line, without a crash, a hang or a blow-up."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils.save_and_load import load_peft_weights
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from lm_eval_lora_boundary.cuts import patterns
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.base_model import empty_model
from lm_eval_lora_boundary.cuts.loading import check_fits, load_adapter
from lm_eval_lora_boundary.cuts.pickled import check_pickled
from lm_eval_lora_boundary.cuts.recorded_choice import read_record, recorded_choice
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError, LoraBoundaryError

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
RECORD = "lora_boundary.json"
Tiny = Callable[..., tuple[Path, Path]]


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """Return a copy of a whole adapter."""
    return Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))


def read(folder: Path) -> None:
    """Read an adapter as far as all checks go."""
    check_fits(empty_model(tiny_model().config), open_adapter(folder))


def refused(folder: Path, error: type[LoraBoundaryError] = AdapterError) -> str:
    with pytest.raises(error) as caught:
        read(folder)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 2100
    return message


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


def archive(folder: Path, index: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Replace the tensors by an archive as ``torch.save`` writes it, with another index."""
    written = io.BytesIO()
    torch.save({"w": torch.zeros(4)}, written)
    (folder / WEIGHTS).unlink(missing_ok=True)
    with (
        zipfile.ZipFile(written) as old,
        zipfile.ZipFile(folder / PICKLED, "w", compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, index if name.endswith("data.pkl") and index else old.read(name))


class Run:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


REPEATED = b"\x80\x02}X\x01\x00\x00\x00w)\x85q\x00h\x00\x86s."
TENSOR = (
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
    b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00J\x00\x00\x00\x7f\x85"
    b"K\x00\x85\x89ccollections\nOrderedDict\n)RtRs."
)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x7f\x85R.", "__builtin__ bytearray"),
        (b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", "posix system"),
        (REPEATED, "used twice"),
        (TENSOR, "w is larger than its data"),
        (b"\x80\x02]q\x00.", "EMPTY_LIST"),
        (b"\x80\x02N.", "no tensors by name"),
        (b"\x80\x02", "truncated or damaged"),
    ],
)
def test_a_pickle_with_more_than_tensors(index: bytes, message: str, folder: Path) -> None:
    archive(folder, index)
    assert message in refused(folder)


def test_an_archive_that_is_compressed(folder: Path) -> None:
    archive(folder, b"", zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(folder)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_unpickled(protocol: int, zipped: bool, folder: Path, tmp_path: Path) -> None:
    """Neither by this package nor, if its checks were gone, by PEFT."""
    content = pickle.dumps({"w": Run(tmp_path / "ran")}, protocol)
    if zipped:
        archive(folder, content)
    else:
        (folder / WEIGHTS).unlink()
        (folder / PICKLED).write_bytes(content)
    refused(folder)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_peft_weights(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Run(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()  # it is able to


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_torch_saves_is_read(dtype: torch.dtype, folder: Path) -> None:
    tensors = {name: each.to(dtype) for name, each in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    usual = open_adapter(folder).sha256
    (folder / WEIGHTS).unlink()
    for saved in (
        tensors,
        OrderedDict(tensors),
        {name: torch.nn.Parameter(each) for name, each in tensors.items()},
        {name: each.T.contiguous().T for name, each in tensors.items()},
    ):
        torch.save(saved, folder / PICKLED)
        check_pickled(folder / PICKLED)
        assert open_adapter(folder).sha256 == usual


# --- what is no file ----------------------------------------------------------------------------


def no_file(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path.name, "missing": "nowhere"}[kind])


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
