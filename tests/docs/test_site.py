"""The documentation: its reference is that of the code, and its pages name what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lm_eval_lora_boundary import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_group(cli.app).commands

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="installed without the docs")


def test_the_reference_is_what_the_code_says() -> None:
    check = [sys.executable, str(DOCS / "write_reference.py"), "--check"]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_options_in_examples_exist() -> None:
    """Every option after ``lora-boundary COMMAND`` in a code block is one of the command."""
    found = 0
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        if "_build" in page.parts:
            continue
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [
            line
            for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
            for line in block.split("\n")
        ]
        for line in lines:
            command = re.match(
                r"(?:.*-m lm_eval_lora_boundary|lora-boundary) (\w+)(.*)", line.strip()
            )
            if command is None:
                continue
            known = {name for each in COMMANDS[command[1]].params for name in each.opts}
            given = set(re.findall(r"(?<=\s)--[\w-]+", command[2].partition("#")[0]))
            assert given <= known, f"{page.name}: {line}"
            found += len(given)
    assert found > 30


def test_messages_of_the_troubleshooting_page_are_messages_of_the_code() -> None:
    """Its headings quote messages; what they quote word for word is in the code."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    package = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("lm_eval_lora_boundary", "tasks")
        for file in (ROOT / folder).rglob("*.py")
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", package)  # parts of one text on several lines
    quoted = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert len(quoted) > 20
    for heading in quoted:
        for part in re.split(r"…", heading.replace("`", "")):
            words = part.strip()
            assert not words or words in joined.replace("`", ""), words
