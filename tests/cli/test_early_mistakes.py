"""Mistakes that need no model are reported before a library is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "lm_eval", "datasets", "matplotlib")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command, and returns its one line."""

    def run(*arguments: object) -> str:
        command = ["lora-boundary", *map(str, arguments)]
        code = f"""
import sys
from lm_eval_lora_boundary.cli import main
sys.argv = {command!r}
try:
    main()
finally:
    print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
        assert (done.returncode, done.stdout.strip()) == (2, ""), done.stderr
        (line,) = done.stderr.splitlines()
        return line.removeprefix("lora-boundary: error: ")

    return run


def test_paths(refused: Callable[..., str], adapter: Path, base: Path, tmp_path: Path) -> None:
    common = ("--tasks", "t", "--output", "out")
    file = tmp_path / "file"
    file.write_text("")
    for command in ("sweep", "trace"):
        run = (command, *common)
        assert refused(*run, "--peft", "./nothing").startswith("peft=./nothing does not exist")
        assert "is a file; give the folder" in refused(*run, "--peft", file)
        assert "Did you swap pretrained and peft?" in refused(*run, "--peft", base)
        assert refused(*run, "--peft", adapter, "--pretrained", "/nothing").startswith(
            "pretrained=/nothing does not exist; expected a model folder"
        )
        assert "is an adapter (adapter_config.json)" in refused(
            *run, "--peft", adapter, "--pretrained", adapter
        )
        assert "include_path=nothing is not a folder" in refused(
            *run, "--peft", adapter, "--include-path", "nothing"
        )
    assert "output=file is a file" in refused(
        "sweep", "--peft", adapter, "--tasks", "t", "--output", "file"
    )


def test_settings(refused: Callable[..., str], adapter: Path) -> None:
    run = ("sweep", "--peft", adapter, "--tasks", "t", "--output", "out")
    expected = "limit=0 cannot be used; expected a whole number of documents above 0"
    assert refused(*run, "--limit", "0").startswith(expected)
    assert refused(*run, "--split", "dev").startswith("split='dev' cannot be used")
    assert "margin" in refused(*run, "--margin", "lots")
    assert "family" in refused(*run, "--family", "middle")


def test_train(refused: Callable[..., str], base: Path, tmp_path: Path) -> None:
    run = ("train", "--task", "t", "--output", "out")
    assert "does not exist" in refused(*run, "--pretrained", "./nothing")
    assert "rank=0 cannot be used" in refused(*run, "--pretrained", base, "--rank", 0)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "comes without config.json" in refused(*run, "--pretrained", empty)


def test_a_checkpoint_with_an_adapter_says_what_to_move(
    refused: Callable[..., str], adapter: Path, base: Path
) -> None:
    config = {"base_model_name_or_path": "org/base"}
    (base / "adapter_config.json").write_text(json.dumps(config))
    line = refused(
        *("sweep", "--peft", adapter, "--tasks", "t", "--output", "out", "--pretrained", base)
    )
    assert "holds an adapter" in line and "move the adapter_* files out of the folder" in line


def test_rows_of_ones_own(refused: Callable[..., str], adapter: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "p", "response": "a"}\n{"prompt": "p"}\n')
    common = ("--peft", adapter, "--output", "out")
    line = refused("sweep", *common, "--data", data)
    assert line.startswith(f"{data}, line 2: its fields are prompt; expected `prompt` and")
    assert refused("trace", *common, "--data", data) == line
    assert refused("train", "--pretrained", "org/base", "--output", "out", "--data", data) == line
    both = refused("sweep", *common, "--data", data, "--tasks", "t")
    assert both == f"tasks=t and data={data} are both given; give one of them"
    assert "give --tasks TASK, or --data FILE" in refused("sweep", *common)
    data.write_text('{"prompt": "p", "response": "a"}\n')
    templates = ("--data", data, "--apply-chat-template", "--no-template")
    assert "are both given" in refused("sweep", *common, *templates)
    assert "output is not given" in refused("sweep", "--peft", adapter, "--data", data)


@pytest.mark.parametrize("command", ["sweep", "trace"])
def test_a_folder_of_another_run(
    command: str, refused: Callable[..., str], adapter: Path, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    recorded = {"pretrained": "org/other", "peft": str(adapter), "tasks": ["t"], "limit": 5}
    (tmp_path / "out" / f"{command}.json").write_text(json.dumps({"settings": recorded}))
    given = ("--peft", adapter, "--tasks", "t", "--output", "out", "--limit", "2")
    for named, said in (
        ((), ""),
        (("--pretrained", base), f"; pretrained is 'org/other' .*{base}"),
    ):
        line = refused(command, *given, *named)
        assert re.match(
            rf"out holds a {command} with other settings: limit is 5 there and 2 here{said}", line
        )
