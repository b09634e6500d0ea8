"""The JSON Schemas of the documentation describe every key of the files that are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import lm_eval_lora_boundary
from lm_eval_lora_boundary import trace
from lm_eval_lora_boundary.train.run import train
from lm_eval_lora_boundary.train.settings import TrainSettings

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
DEMO = Path(lm_eval_lora_boundary.__file__).parent / "demo_adapter"
Run = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="installed without the docs")


def closed(schema: Any) -> Any:
    """Return a schema that allows no key which it does not describe."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    fixed = inner.get("type") == "object" and "properties" in inner
    return inner | {"additionalProperties": False} if fixed else inner


def check(file: Path, name: str | None = None) -> None:
    schema = json.loads((SCHEMAS / f"{name or file.stem}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(file.read_text("utf-8"))
    for strict in (schema, closed(schema)):
        jsonschema.Draft202012Validator(strict).validate(content)


@pytest.fixture(scope="module")
def folder(task_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tasks and a group; all tests use it, so it is read once."""
    copied = Path(shutil.copytree(task_folder, tmp_path_factory.mktemp("grouped") / "tasks"))
    (copied / "group.yaml").write_text(
        "group: tiny_group\ntask: [tiny_choices, tiny_last_word]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    return copied


@pytest.fixture
def adapter(tiny: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Path:
    """Return an adapter whose folder may be written to."""
    return Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))


def test_a_sweep_of_families_with_a_control_task(
    run: Run, fast_tasks: None, folder: Path, adapter: Path, tmp_path: Path
) -> None:
    found = run(
        "tiny_last_word",
        include_path=str(folder),
        peft=adapter,
        family="upper,lower,random:1,scale:0:0.5,each,only",
        control="tiny_text",
        save=True,
    )
    task = found["tasks"]["tiny_last_word"]
    assert task["test"] and task["layer_map"] and task["controls"] and found["control_tasks"]
    check(tmp_path / "out" / "sweep.json")
    check(adapter / "lora_boundary.json")


def test_a_race_and_a_group(run: Run, fast_tasks: None, folder: Path, tmp_path: Path) -> None:
    found = run("tiny_group", include_path=str(folder), boundaries="1", confirm=False)
    assert found["groups"]
    check(tmp_path / "out" / "sweep.json")
    raced = run("tiny_choices", "raced", include_path=str(folder), race=True, confirm=False)
    assert raced["race"]
    check(tmp_path / "raced" / "sweep.json")


def test_a_trace_with_its_gradient(
    tiny: Callable[..., tuple[Path, Path]], folder: Path, fast_tasks: None, tmp_path: Path
) -> None:
    base, adapter = tiny()
    found = trace(
        *(str(base), adapter, "tiny_choices", tmp_path),
        include_path=str(folder),
        boundaries="1",
        gradient=True,
        measure=True,
        dtype="float32",
        device="cpu",
    )
    assert found["tasks"]["tiny_choices"]["gradient"]["measured"]
    check(tmp_path / "trace.json")


def test_a_training_run(
    tiny: Callable[..., tuple[Path, Path]], task_folder: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(
        pretrained=str(tiny()[0]),
        task="tiny_words",
        include_path=str(task_folder),
        epochs=1,
        batch_size=2,
        dtype="float32",
        device="cpu",
        save_epochs=True,
    )
    folder = train(settings, tmp_path / "out")
    check(folder / "training.json")
    check(folder / "epoch=1" / "training.json")
    check(DEMO / "training.json")


def test_a_key_that_is_not_described_is_found(tmp_path: Path) -> None:
    content = json.loads((DEMO / "training.json").read_text("utf-8"))
    content["rows"]["more"] = 1
    (tmp_path / "training.json").write_text(json.dumps(content))
    with pytest.raises(jsonschema.ValidationError, match="more"):
        check(tmp_path / "training.json")
