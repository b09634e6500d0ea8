"""Code that comes with a model or an adapter runs only if the user asks for it."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from model_helpers import make

import lm_eval_lora_boundary
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import LoraBoundaryError

PACKAGE = Path(lm_eval_lora_boundary.__file__).parent
Tiny = Callable[..., tuple[Path, Path]]
# what runs or reads code, by the last part of its name
RUNS = {"eval", "exec", "compile", "__import__", "import_module", "run_path", "run_module"}
UNPICKLES = {"pickle.load", "pickle.loads", "torch.load", "joblib.load", "yaml.load", "np.load"}
# by names that stand in this package, never by one in a file
OUR_IMPORTS = {"__init__.py", "discovery.py", "loggers.py"}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield file, node


def test_trust_remote_code_is_never_switched_on() -> None:
    """Where it is passed on, it is what the user gave; it is never a constant but False."""
    wrong = []
    for file, call in calls():
        for keyword in call.keywords:
            constant = isinstance(keyword.value, ast.Constant) and keyword.value.value is not False
            if keyword.arg == "trust_remote_code" and constant:
                wrong.append(f"{file.name}:{call.lineno}")
        if any(
            isinstance(a, ast.Constant) and a.value == "HF_DATASETS_TRUST_REMOTE_CODE"
            for a in call.args
        ):
            wrong.append(f"{file.name}:{call.lineno}")
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                wrong += [
                    f"{file.name}:{node.lineno}"
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant)
                    and key.value == "trust_remote_code"
                    and isinstance(value, ast.Constant)
                ]
    assert not wrong


def test_no_file_is_run_or_unpickled() -> None:
    wrong = []
    for file, call in calls():
        name = ast.unparse(call.func)
        ours = file.name in OUR_IMPORTS and name.endswith("import_module")
        safe = any(
            keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True"
            for keyword in call.keywords
        )
        if (name in RUNS or name.endswith(".import_module")) and not ours:
            wrong.append(f"{file.name}:{call.lineno} {name}")
        if name in UNPICKLES and not safe:
            wrong.append(f"{file.name}:{call.lineno} {name}")
    assert not wrong


CODE = "from pathlib import Path\nPath({!r}).touch()\nclass X:\n    pass\n"


@pytest.fixture
def bait(tiny: Tiny, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return base, adapter and the file that their code would create."""
    ran = tmp_path / "ran"
    base, adapter = (
        Path(shutil.copytree(folder, tmp_path / name))
        for folder, name in zip(tiny(), ("base", "adapter"), strict=True)
    )
    for folder in (base, adapter):
        for name in ("modeling_x", "configuration_x", "tokenization_x", "custom", "adapter_model"):
            (folder / f"{name}.py").write_text(CODE.format(str(ran)))
    return base, adapter, ran


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


ASKING: list[dict[str, Any]] = [
    {"auto_mapping": {"base_model_class": "X", "parent_library": "modeling_x"}},
    {"auto_mapping": {"base_model_class": "system", "parent_library": "os"}},
    {"trust_remote_code": True},
    {"custom_modules": {"q_proj": "custom.X"}, "_custom_modules": {"q_proj": "custom.X"}},
    {"runtime_config": {"ephemeral_gpu_offload": True, "trust_remote_code": True}},
    {"base_model_name_or_path": "BASE", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
    {"megatron_config": {"x": 1}, "megatron_core": "custom"},
    {"corda_config": {"cache_file": "adapter_model.bin", "covariance_file": "x.bin"}},
    {"init_lora_weights": "corda", "corda_config": {"cache_file": "adapter_model.bin"}},
    {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
]


@pytest.mark.filterwarnings("ignore")  # PEFT warns of options that it does not know
@pytest.mark.parametrize("asking", ASKING, ids=lambda each: ",".join(each))
def test_a_config_that_asks_for_code(
    asking: dict[str, Any],
    bait: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, adapter, ran = bait
    monkeypatch.chdir(adapter)
    monkeypatch.syspath_prepend(str(adapter))
    change(adapter / "adapter_config.json", **asking)
    try:
        open_adapter(adapter)
        make(base, adapter, boundary=1)
    except LoraBoundaryError as error:
        assert str(error).isprintable()
    assert not ran.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_base_model_with_code_needs_the_users_word(bait: tuple[Path, Path, Path]) -> None:
    base, adapter, ran = bait
    maps = {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    change(base / "config.json", auto_map=maps, model_type="unheard_of")
    change(base / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_x.X", None]})
    with pytest.raises(LoraBoundaryError, match="cannot be loaded") as caught:
        make(base, adapter, boundary=1)
    assert str(caught.value).isprintable()
    assert not ran.exists()
