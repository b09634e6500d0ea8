"""What vLLM is given, recorded by a stand-in; no vLLM needed.

The real engine is tested in `tests/with_vllm`, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import LAYERS, tiny_model
from tiny_tasks import write_tasks

from lm_eval_lora_boundary import export
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.base_model import empty_model, load_config
from lm_eval_lora_boundary.cuts.fingerprint import (
    checkpoint_sample,
    files_fingerprint,
    weight_files,
    weights_sample,
)
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, ModelError
from lm_eval_lora_boundary.sweeps import demo
from lm_eval_lora_boundary.vllm.cut_folders import CutFolders

STAND_IN = Path(__file__).parent / "vllm_stand_in"

SCRIPT = """
import json, sys
from pathlib import Path
from lm_eval_lora_boundary.upstream.lm_eval import request
from lm_eval_lora_boundary.vllm.model import LoraBoundaryVLLM
for arguments in json.loads(sys.argv[1]):
    try:
        lm = LoraBoundaryVLLM.create_from_arg_obj(arguments)
    except ValueError as error:
        print("GIVEN", json.dumps({"error": f"{type(error).__name__}: {error}"}))
        continue
    lm.see([request("generate_until", ("w0 w1", {"until": ["w9"]}), 0)])
    path = None if lm.lora_request is None else Path(lm.lora_request.lora_path)
    files = [] if path is None else sorted(file.name for file in path.iterdir())
    print("GIVEN", json.dumps({
        "arguments": lm.model_args,
        "adapter": None if path is None else str(path),
        "files": files,
        "info": lm.get_model_info(),
    }))
"""

# by name: arguments besides the base model and the adapter
CASES: dict[str, dict[str, Any]] = {
    "cut": {
        **{"boundary": 1, "dtype": "float32", "tensor_parallel_size": 4, "max_model_len": 64},
        **{"gpu_memory_utilization": 0.8, "distributed_executor_backend": "ray"},
    },
    "base": {"boundary": -1},
    "unset": {},
    "top": {"boundary": LAYERS - 1},
    "given": {"boundary": 0, "max_lora_rank": 64, "lora_target_modules": ["qkv_proj"]},
    "merged": {"boundary": 1, "merge": True, "dtype": "float32"},
    "keep": {"keep": f"0+{LAYERS - 1}@0.5"},
}
MISTAKES: dict[str, dict[str, Any]] = {
    "is out of range": {"boundary": LAYERS},
    "expected an integer": {"boundary": "x"},
    "neither a local folder": {"peft": "nowhere"},
    "pretrained=nowhere cannot be loaded": {"pretrained": "nowhere"},
    "demo_adapter is an adapter": {"pretrained": str(demo.ADAPTER)},
    "expected a base model": {"pretrained": str(demo.ADAPTER), "peft": None},
    "were both given": {"lora_local_path": "x"},
    "has no lora_boundary.json": {"boundary": "auto"},
}


@pytest.fixture(scope="module")
def given(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make the model with vLLM's stand-in, once per case; return what vLLM was given."""
    base, adapter = tiny()
    folder = shutil.copytree(adapter, tmp_path_factory.mktemp("vllm") / "named")
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": str(base), "revision": "dev"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "training.json").write_text('{"task": {"ending": [7]}}')
    cases = CASES | {"named": {"pretrained": None, "peft": str(folder), "boundary": 1}} | MISTAKES
    common = {"pretrained": str(base), "peft": str(adapter)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([common | each for each in cases.values()])],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(STAND_IN), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("GIVEN ")]
    found = [json.loads(line.removeprefix("GIVEN ")) for line in lines]
    return dict(zip(cases, found, strict=True))


def test_arguments_pass_through_and_the_cut_is_an_ordinary_adapter(
    given: dict[str, Any], tiny: Any
) -> None:
    base, _ = tiny()
    found = given["cut"]
    expected = {"model": str(base), "enable_lora": True, "max_lora_rank": 8}
    expected |= {k: v for k, v in CASES["cut"].items() if k != "boundary"}
    assert {name: found["arguments"][name] for name in expected} == expected
    assert "q_proj" in found["arguments"]["lora_target_modules"]
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(found["files"])
    assert found["info"]["boundary"] == 1
    assert found["info"]["kept_modules"] == found["info"]["dropped_modules"] == 14


def test_a_cut_that_is_not_a_boundary_is_an_ordinary_adapter_too(given: dict[str, Any]) -> None:
    info = given["keep"]["info"]
    assert (info["cut"], info["boundary"]) == (CASES["keep"]["keep"], None)
    assert info["kept_modules"] == info["dropped_modules"] == 14
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(given["keep"]["files"])


def test_base_model_and_whole_adapter_load_as_in_lm_eval(given: dict[str, Any], tiny: Any) -> None:
    _, adapter = tiny()
    assert given["base"]["adapter"] is None
    assert given["base"]["arguments"]["enable_lora"] is False
    assert given["base"]["info"]["kept_parameters"] == 0
    assert given["unset"]["adapter"] == given["top"]["adapter"] == str(adapter)


def test_the_base_model_is_the_one_that_the_adapter_names(given: dict[str, Any], tiny: Any) -> None:
    arguments = given["named"]["arguments"]
    assert (arguments["model"], arguments["revision"]) == (str(tiny()[0]), "dev")


def test_notes_are_in_the_results(given: dict[str, Any]) -> None:
    ending, prompt = given["named"]["info"]["notes"]
    assert ending["text"].startswith('responses end at 2 "</s>" or "w9"; training.json says')
    assert prompt["text"] == 'the first prompt begins with 4 "w0", 5 "w1"'
    assert [note["kind"] for note in given["merged"]["info"]["notes"]] == ["prompt"]


def test_arguments_of_the_user_win(given: dict[str, Any]) -> None:
    arguments = given["given"]["arguments"]
    assert arguments["max_lora_rank"] == 64
    assert arguments["lora_target_modules"] == ["qkv_proj"]


def test_merged_checkpoints_are_loaded_without_lora(given: dict[str, Any]) -> None:
    found = given["merged"]
    assert found["adapter"] is None
    assert Path(found["arguments"]["model"]).name == "merged"
    assert found["info"]["merge"] is True


@pytest.mark.parametrize("message", MISTAKES)
def test_bad_input(message: str, given: dict[str, Any]) -> None:
    assert message in given[message]["error"]


@pytest.mark.slow
def test_model_and_sweep_are_refused_without_vllm(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    tasks = write_tasks(tmp_path)
    evaluation = [
        *("-m", "lm_eval", "--model", "lora_boundary_vllm", "--tasks", "tiny_words"),
        *("--model_args", f"pretrained={base},peft={adapter}", "--include_path", str(tasks)),
    ]
    sweep = [
        *("-m", "lm_eval_lora_boundary", "sweep", "--tasks", "tiny_words", "--engine", "vllm"),
        *("--pretrained", str(base), "--peft", str(adapter), "--include-path", str(tasks)),
        *("--output", str(tmp_path / "out")),
    ]
    for start, words in (
        ("lora_boundary: error: the model lora_boundary_vllm", evaluation),
        ("lora-boundary: error: --engine vllm", sweep),
    ):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"{start} needs vllm; install it with: ")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"k_proj": 3}, "use_rslora": True},
        {"target_modules": r".*\.(q_proj|up_proj)"},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 2, 3]},
        {"target_modules": ["q_proj"], "exclude_modules": ["layers.1.self_attn.q_proj"]},
    ],
    ids=str,
)
def test_cuts_made_without_weights_equal_exported_cuts(
    config: dict[str, Any], tiny: Any, tmp_path: Path
) -> None:
    base, folder = tiny(**config)
    adapter = open_adapter(folder)
    folders = CutFolders(
        adapter, load_config(str(base), None, trust_remote_code=False), trust_remote_code=False
    )
    for boundary in range(LAYERS - 1):
        folders.check(boundary)
        written = folders.write(boundary, tmp_path)
        export(str(base), folder, boundary, tmp_path / f"{boundary}", device="cpu")
        assert open_adapter(written).sha256 == open_adapter(tmp_path / f"{boundary}").sha256
        ours, theirs = (
            json.loads((path / "adapter_config.json").read_text())
            for path in (written, tmp_path / f"{boundary}")
        )
        assert ours == theirs | {"base_model_name_or_path": None}
    assert folders.write(LAYERS - 1, tmp_path) == folder


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"trainable_token_indices": [5, 6]}, "cannot read"),
        ({"init_lora_weights": "pissa"}, "rewrites base weights"),
        ({"bias": "all", "architecture": "phi"}, "outside the decoder layers"),
    ],
    ids=str,
)
def test_adapters_that_vllm_cannot_load_are_refused_before_it_starts(
    config: dict[str, Any], word: str, tiny: Any
) -> None:
    base, folder = tiny(**config)
    model = load_config(str(base), None, trust_remote_code=False)
    with pytest.raises(LoraBoundaryError, match=word):
        CutFolders(open_adapter(folder), model, trust_remote_code=False).check(1)


def test_a_saved_head_is_refused_at_the_last_boundary_only(tiny: Any) -> None:
    base, folder = tiny(modules_to_save=["lm_head"])
    model = load_config(str(base), None, trust_remote_code=False)
    folders = CutFolders(open_adapter(folder), model, trust_remote_code=False)
    folders.check(LAYERS - 2)
    with pytest.raises(AdapterError, match=r"modules_to_save .*lm_head"):
        folders.check(LAYERS - 1)


def test_an_adapter_without_effect_is_refused(tmp_path: Path) -> None:
    import peft
    from tiny_models import lora_config

    base = tiny_model()
    peft.get_peft_model(base, lora_config()).save_pretrained(tmp_path / "untrained")
    folders = CutFolders(open_adapter(tmp_path / "untrained"), base.config, trust_remote_code=False)
    with pytest.raises(AdapterError, match="no effect"):
        folders.check(1)


@pytest.mark.parametrize("tied", [False, True])
def test_files_and_weights_identify_the_base_model_alike(tied: bool, tiny: Any) -> None:
    base, _ = tiny("qwen2", tied=tied)
    files = weight_files(str(base), None)
    config = load_config(str(base), None, trust_remote_code=False)
    model = type(tiny_model("qwen2")).from_pretrained(base)
    sample = checkpoint_sample(files, empty_model(config), str(base))
    assert sample == weights_sample(model)
    # The model is loaded if the names in the files differ.
    assert checkpoint_sample([], empty_model(config), str(base)) == sample


def test_the_fingerprint_depends_on_the_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    before = files_fingerprint([first, second])
    second.write_bytes(b"tWo")
    assert files_fingerprint([first, second]) != before


def test_files_in_the_cache_of_the_hub_are_identified_by_name(tmp_path: Path) -> None:
    name = "ab" * 32
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs" / name).write_bytes(b"anything")
    link = tmp_path / "snapshots" / "model.safetensors"
    link.symlink_to(tmp_path / "blobs" / name)
    before = files_fingerprint([link])
    (tmp_path / "blobs" / name).write_bytes(b"not read")
    assert files_fingerprint([link]) == before


def test_a_base_model_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        weight_files(str(tmp_path), None)
