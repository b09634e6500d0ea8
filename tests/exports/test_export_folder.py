"""A folder appears complete or not at all, with card, tokenizer and facts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from export_helpers import WEIGHTS, run, tensors
from huggingface_hub import ModelCard
from tiny_models import LAYERS, tiny_tokenizer
from typer.testing import CliRunner

from lm_eval_lora_boundary.cli import export as command
from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.exports import api
from lm_eval_lora_boundary.exports import atomic_folder as folder
from lm_eval_lora_boundary.exports.card import PLACEHOLDER

HERE = Path(__file__).resolve().parent
# kills the process at a point of the export, as a power cut would
KILLED = """
import os, sys
sys.path[:0] = {paths!r}
from lm_eval_lora_boundary.exports import adapter, atomic_folder as folder
from export_helpers import run
def die(*_):
    os._exit(9)
{where} = die
run({base!r}, __import__("pathlib").Path({adapter!r}), 1, {output!r}, force=True)
"""


def killed(where: str, base: Path, adapter: Path, output: Path) -> int:
    paths = [str(HERE), str(HERE.parent)]
    code = KILLED.format(
        paths=paths, where=where, base=str(base), adapter=str(adapter), output=str(output)
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode


@pytest.mark.parametrize("where", ["adapter.AdapterCut.verify", "folder.flush"])
def test_a_killed_export_leaves_nothing_that_looks_like_one(
    tiny: Any, tmp_path: Path, where: str
) -> None:
    base, adapter = tiny()
    assert killed(where, base, adapter, tmp_path / "out") == 9
    assert [path.name for path in tmp_path.iterdir()] == [".writing-out"]
    run(base, adapter, 1, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_replacement_keeps_the_older_export(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    output = tmp_path / "out"
    run(base, adapter, 2, output)
    before = (output / WEIGHTS).read_bytes()
    assert killed("adapter.AdapterCut.verify", base, adapter, output) == 9
    assert (output / WEIGHTS).read_bytes() == before
    # between the two renames: moved away, and nothing in its place yet
    (tmp_path / ".writing-out").mkdir(exist_ok=True)
    output.rename(tmp_path / ".writing-out" / "old")
    with pytest.raises(OutputError, match="exists; give a new folder, or --force"):
        run(base, adapter, 1, output)
    assert (output / WEIGHTS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_force_replaces_adapters_and_nothing_else(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    output = tmp_path / "out"
    run(base, adapter, 2, output)
    (output / "note.txt").write_text("of the older export")
    with pytest.raises(OutputError, match="--force"):
        run(base, adapter, 1, output)
    facts = run(base, adapter, 1, output, force=True)
    assert facts["boundary"] == 1
    assert not (output / "note.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    other = tmp_path / "documents"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="neither an adapter nor a checkpoint"):
        run(base, adapter, 1, other, force=True)
    with pytest.raises(OutputError, match="is a file"):
        run(base, adapter, 1, other / "thesis.txt", force=True)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_what_is_read_is_never_replaced(tiny: Any, tmp_path: Path) -> None:
    source, written = tiny()
    base, adapter = tmp_path / "both" / "base", tmp_path / "both" / "adapter"
    shutil.copytree(source, base)
    shutil.copytree(written, adapter)
    (tmp_path / "link").symlink_to(adapter)
    for output in (adapter, base, tmp_path / "both", tmp_path / "link", adapter / ".." / "adapter"):
        with pytest.raises(OutputError, match="which is read"):
            run(base, adapter, 1, output, force=True)
    assert tensors(adapter).keys() == tensors(written).keys()


def test_a_full_disk_leaves_the_older_export_alone(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny()
    run(base, adapter, 2, tmp_path / "out")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "flush", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        run(base, adapter, 1, tmp_path / "out", force=True)
    with pytest.raises(OutputError, match="No space left"):
        run(base, adapter, 1, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out" / api.FACTS).read_text())["boundary"] == 2


def test_parent_folders_are_created(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    run(base, adapter, 1, tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / WEIGHTS).is_file()
    assert (tmp_path / "a" / "b" / "out").stat().st_mode == (tmp_path / "a").stat().st_mode


@pytest.mark.parametrize("merge", [False, True])
def test_others_may_read_what_was_written(tiny: Any, tmp_path: Path, merge: bool) -> None:
    """safetensors writes files that only their owner may read."""
    base, adapter = tiny()
    run(base, adapter, 1, tmp_path / "out", merge=merge)
    (tmp_path / "new").touch()
    assert {path.stat().st_mode for path in (tmp_path / "out").iterdir()} == {
        (tmp_path / "new").stat().st_mode
    }


def test_the_card_tells_what_was_done_and_how_to_load_it(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(r=20)
    facts = run(base, adapter, 1, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "peft"
    assert card.data.base_model == str(base)
    assert {"lora", f"base_model:adapter:{base}"} <= set(card.data.tags)
    for text in (
        f"A LoRA adapter for `{base}`, layers 0–1 of 0–3. Its weights above the boundary",
        f"kept | {facts['kept_modules']} modules, {facts['kept_parameters']:,} parameters",
        f"dropped | {facts['dropped_modules']} modules, {facts['dropped_parameters']:,} parameters",
        facts["adapter_sha256"],
        facts["exported_sha256"],
        f'PeftModel.from_pretrained(base, "{PLACEHOLDER}")',
        f"pretrained={base},peft={PLACEHOLDER}",
        f"vllm serve {base} --enable-lora --max-lora-rank 32",
        *(f"{name} {number}" for name, number in facts["versions"].items()),
    ):
        assert text in card.content
    stored = json.loads((tmp_path / "out" / api.FACTS).read_text())
    assert stored == {
        name: value for name, value in facts.items() if name not in ("output", "pretrained")
    }
    assert "with all its layers" in card_of(base, adapter, LAYERS - 1, tmp_path / "whole")


def card_of(base: Path, adapter: Path, boundary: int, output: Path, **settings: Any) -> str:
    run(base, adapter, boundary, output, **settings)
    return (output / "README.md").read_text()


def test_the_card_of_a_dora_adapter_does_not_promise_vllm(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(use_dora=True)
    card = card_of(base, adapter, 1, tmp_path / "out")
    assert "vllm serve" not in card
    assert "vLLM does not load it: vLLM does not support DoRA" in card


def test_the_adapters_tokenizer_is_copied(tiny: Any, tmp_path: Path) -> None:
    base, source = tiny()
    adapter = tmp_path / "adapter"
    shutil.copytree(source, adapter)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(adapter)
    (adapter / "optimizer.pt").write_text("of the training")
    facts = run(base, adapter, 1, tmp_path / "out")
    assert {"tokenizer.json", "chat_template.jinja"} <= set(facts["tokenizer_files"])
    for name in facts["tokenizer_files"]:
        assert (tmp_path / "out" / name).read_bytes() == (adapter / name).read_bytes()
    assert not (tmp_path / "out" / "optimizer.pt").exists()
    only_template = tmp_path / "template"
    shutil.copytree(source, only_template)
    shutil.copy(adapter / "chat_template.jinja", only_template)
    # an evaluation adds a padding token, which must not be in a checkpoint
    template = tokenizer.chat_template
    for peft, expected in ((source, None), (adapter, template), (only_template, template)):
        output = tmp_path / f"merged-{peft.name}-{expected is None}"
        run(base, peft, 1, output, merge=True)
        found = transformers.AutoTokenizer.from_pretrained(output)
        assert found.get_vocab() == tokenizer.get_vocab()
        assert found.chat_template == expected


def test_the_command_line(tiny: Any, tmp_path: Path) -> None:
    import typer

    base, adapter = tiny()
    app = typer.Typer()
    app.command()(command)
    app.callback()(lambda: None)
    arguments = ["--pretrained", str(base), "--peft", str(adapter), "--boundary", "1"]
    options = ["--check", "vllm", "--dtype", "float32", "--device", "cpu"]
    result = CliRunner().invoke(app, ["export", *arguments, str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert "kept 14 modules" in result.output
    assert "50% of the adapter" in result.output
    assert "vLLM loads it with --max-lora-rank 16\n" in result.output
    assert result.stdout.endswith(f"{tmp_path / 'out'}\n")
    again = CliRunner().invoke(app, ["export", *arguments, str(tmp_path / "out")])
    assert isinstance(again.exception, OutputError)
