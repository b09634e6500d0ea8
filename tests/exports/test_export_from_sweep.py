"""`export --from SWEEP`: base model, adapter and cut of a sweep, and its scores in the card."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from export_helpers import config, tensors
from huggingface_hub import ModelCard
from tiny_models import LAYERS, save_adapter, tiny_model

from lm_eval_lora_boundary import export
from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
    LoraBoundaryError,
    OutputError,
)
from lm_eval_lora_boundary.files import SPEED, SWEEP

pytestmark = pytest.mark.usefixtures("fast_tasks")
Run = Callable[..., dict[str, Any]]
WORDS = "tiny_words"


@pytest.fixture
def swept(run: Run, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that sweeps and then changes what is recommended."""

    def swept(*choices: int | str, tasks: str = WORDS, **settings: Any) -> Path:
        run(tasks, **({"metric": "bleu"} | settings))
        path = tmp_path / "out" / SWEEP
        content = json.loads(path.read_text())
        for entry, choice in zip(content["tasks"].values(), choices, strict=True):
            entry["choice"] = choice
        path.write_text(json.dumps(content))
        return path.parent

    return swept


def from_sweep(folder: Path, output: Path, **settings: Any) -> dict[str, Any]:
    given = {"pretrained": None, "peft": None, "boundary": None} | settings
    return export(output=output, sweep=folder, **given)


def test_one_line_ships_the_choice(swept: Any, tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    folder = swept(1)
    out = tmp_path / "my cut"
    done = command_line("export", "--from", str(folder), "--check", "vllm", str(out))
    assert done.code == 0, done.err
    assert "PEFT loads it into 14 modules" in done.out
    lines = done.out.splitlines()
    assert lines[-1] == str(out)
    (serve,) = [line for line in lines if line.startswith("vllm serve")]
    assert shlex.split(serve)[2:] == [
        *(str(base), "--enable-lora", "--max-lora-rank", "16"),
        *("--lora-modules", f"my_cut={out}"),
    ]
    found: dict[str, Any] = {}
    code = [line for line in lines if line.startswith(("base =", "model ="))]
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    names = {"AutoModelForCausalLM": AutoModelForCausalLM, "PeftModel": PeftModel}
    exec("\n".join(code), names, found)
    assert len(found["model"].targeted_module_names) == 14

    assert tensors(out).keys() < tensors(adapter).keys()
    assert config(out)["base_model_name_or_path"] == str(base)
    content = json.loads((folder / SWEEP).read_text())
    card = ModelCard.load(out / "README.md")
    entry = content["tasks"][WORDS]
    parts = [part for part in (entry["test"], entry) if part is not None]
    rows = [{row["boundary"]: row for row in part["boundaries"]} for part in parts]
    expected = [
        (part["split"], part["documents"], by[1]["value"], by[1]["value_low"], by[1]["value_high"])
        for part, by in zip(parts, rows, strict=True)
        if 1 in by
    ]
    results = card.data.eval_results or []
    assert (
        expected
        and [
            (
                each.dataset_split,
                (each.dataset_args or {})["documents"],
                each.metric_value,
                *(each.metric_args or {})["interval_95"],
            )
            for each in results
        ]
        == expected
    )
    signatures = {
        "test": (entry["test"] or {}).get("signature"),
        "validation": content["signature"],
    }
    for each in results:
        assert (each.dataset_name, each.metric_name) == (WORDS, "bleu")
        assert (each.metric_args or {})["signature"] == signatures[each.dataset_split or ""]
        assert f"- `{signatures[each.dataset_split or '']}`".replace("|", "\\|") in card.content
    size = next(row for row in entry["boundaries"] if row["boundary"] == 1)
    assert f"{size['parameters']:,} of {2 * size['parameters']:,} adapter" in card.content
    assert "no memory in vLLM" in card.content


def test_sweeps_with_one_signature_show_it(swept: Any, tmp_path: Path) -> None:
    folder = swept(1)
    content = json.loads((folder / SWEEP).read_text())
    content["tasks"][WORDS]["test"].pop("signature")  # as earlier versions wrote it
    (folder / SWEEP).write_text(json.dumps(content))
    from_sweep(folder, tmp_path / "cut")
    results = ModelCard.load(tmp_path / "cut/README.md").data.eval_results or []
    signatures = {(each.metric_args or {})["signature"] for each in results}
    assert signatures == {content["signature"]}


def test_options_override_what_the_sweep_says(swept: Any, tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    folder = swept(LAYERS - 1, boundaries="0,1", confirm=False)
    shutil.copytree(base, tmp_path / "base")
    shutil.copytree(adapter, tmp_path / "adapter")
    moved = {"pretrained": str(tmp_path / "base"), "peft": tmp_path / "adapter"}
    facts = from_sweep(folder, tmp_path / "a", boundary=0, **moved)
    assert facts["cut"] == "0" and facts["base_model"] == str(tmp_path / "base")
    assert [score["split"] for score in facts["scores"]] == ["validation"]
    # a cut without scores
    facts = from_sweep(folder, tmp_path / "b", keep="0@0.5")
    assert facts["cut"] == "0@0.5" and facts["scores"] == []
    other = tiny_model()
    other.model.layers[0].mlp.up_proj.weight.data += 1
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(BoundaryError, match=r"about another base model .* sweep this one"):
        from_sweep(folder, tmp_path / "c", boundary=0, pretrained=str(tmp_path / "other"))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (LAYERS - 1, r"recommends the whole adapter.*use its folder as it is.*--keep"),
        (-1, r"recommends the base model.*serve it without an adapter.*--keep"),
    ],
)
def test_nothing_to_export(choice: int, message: str, swept: Any, tmp_path: Path) -> None:
    with pytest.raises(BoundaryError, match=message):
        from_sweep(swept(choice, boundaries="0", confirm=False), tmp_path / "out-1")


def test_tasks_with_different_choices(swept: Any, tmp_path: Path) -> None:
    both = "tiny_words,tiny_text"
    folder = swept(1, "0+2", tasks=both, boundaries="0,1", confirm=False, metric=None)
    with pytest.raises(BoundaryError, match=r"tiny_words: layers 0-1, .*keep=0\+2\); give --task"):
        from_sweep(folder, tmp_path / "a")
    facts = from_sweep(folder, tmp_path / "a", task="tiny_text")
    assert facts["cut"] == "0+2"
    facts = from_sweep(folder, tmp_path / "b", boundary=1)
    assert {score["task"] for score in facts["scores"]} == {"tiny_words", "tiny_text"}
    with pytest.raises(LoraBoundaryError, match=r"task nonsense is none of .*tiny_text or tiny_w"):
        from_sweep(folder, tmp_path / "c", task="nonsense")


def test_an_adapter_that_has_changed_since(run: Run, tiny: Any, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model())
    run(WORDS, peft=adapter, boundaries="1", confirm=False)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 3}))
    with pytest.raises(AdapterError, match=r"the config of .* are not those of"):
        from_sweep(tmp_path / "out", tmp_path / "cut", boundary=1)
    save_adapter(adapter, tiny_model(), r=2)
    with pytest.raises(AdapterError, match=r"the tensors of .* are not those of .*sweep\.json"):
        from_sweep(tmp_path / "out", tmp_path / "cut", boundary=1)


def test_folders_that_hold_no_sweep_of_this_version(swept: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no sweep\.json; expected the --output folder"):
        from_sweep(tmp_path, tmp_path / "cut")
    folder = swept(1, boundaries="1", confirm=False)
    content = json.loads((folder / SWEEP).read_text())
    old = {name: value for name, value in content.items() if name != "adapter_sha256"}
    for damaged, message in (
        (old, "lacks adapter_sha256, so an earlier version wrote it"),
        (content | {"settings": {}}, "does not name base model and adapter"),
        (content | {"layers": 10**12}, "says that the model has 1000000000000 layers"),
        (content | {"tasks": {}}, "holds no tasks"),
        (content | {"tasks": {WORDS: {"choice": [1]}}}, "holds no choice for tiny_words"),
        (content | {"tasks": {WORDS: {"choice": 1}}}, "is damaged"),
    ):
        (folder / SWEEP).write_text(json.dumps(damaged))
        with pytest.raises(OutputError, match=message):
            from_sweep(folder, tmp_path / "cut")
        assert not (tmp_path / "cut").exists()


def test_code_is_not_run_because_a_file_says_so(swept: Any, tmp_path: Path) -> None:
    folder = swept(1, boundaries="1", confirm=False)
    content = json.loads((folder / SWEEP).read_text())
    content["settings"]["model_args"] = {"trust_remote_code": True, "revision": "main"}
    (folder / SWEEP).write_text(json.dumps(content))
    assert from_sweep(folder, tmp_path / "cut")["loading"] == {"revision": "main"}


def test_what_is_missing_is_named(tiny: Any, tmp_path: Path) -> None:
    done = command_line("export", str(tmp_path / "out"))
    assert done.code == 2 and "no adapter is given; give --peft, or --from" in done.err
    done = command_line("export", "--peft", str(tiny()[1]), "--task", "a", str(tmp_path / "out"))
    assert done.code == 2 and "task=a chooses from a sweep, and no sweep is given" in done.err


def test_the_card_tells_what_was_measured(swept: Any, tmp_path: Path) -> None:
    folder = swept(1, boundaries="1", confirm=False)
    adapter = json.loads((folder / SWEEP).read_text())["adapter_sha256"]
    said = [{"cut": 1, "text": "A token is quick."}, {"cut": 3, "text": "Not about this one."}]
    for sha256, shown in ((adapter, True), ("0" * 64, False)):
        (folder / SPEED).write_text(json.dumps({"adapter_sha256": sha256, "sentences": said}))
        from_sweep(folder, tmp_path / f"{shown}")
        text = (tmp_path / f"{shown}" / "README.md").read_text()
        assert ("Measured: A token is quick." in text) == shown
        assert "Not about" not in text
