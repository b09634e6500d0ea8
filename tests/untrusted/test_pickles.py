"""Files of pickled tensors: read if torch.save wrote them, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils.save_and_load import load_peft_weights
from safetensors.torch import load_file, save_file
from untrusted_helpers import PICKLED, WEIGHTS, refused

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.pickled import check_pickled


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
