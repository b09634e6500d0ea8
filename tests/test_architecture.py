"""The layout of the package is the one that docs/architecture.md describes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lm_eval_lora_boundary

PACKAGE = Path(lm_eval_lora_boundary.__file__).parent
MAP = PACKAGE.parent / "docs/architecture.md"
MOST_LINES = 300
FLOORS = (
    {"errors", "discovery"},
    {"cuts", "forward", "stats", "files"},
    {"harness", "report", "compare"},
    {"exports", "traces", "train"},
    {"vllm"},
    {"sweeps"},
    {"cli", "__init__"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
Module = tuple[str, ...]


def modules() -> dict[Module, Path]:
    """Return the package's modules by their path, without the bundled tasks."""
    found = {
        file.relative_to(PACKAGE).with_suffix("").parts: file for file in PACKAGE.rglob("*.py")
    }
    return {module: file for module, file in found.items() if module[0] != "tasks"}


def imported(module: Module, file: Path) -> Iterator[Module]:
    """Yield what a module imports of the package, in functions and for annotations too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            path = (*module[: len(module) - node.level], *(node.module or "").split("."))
            path = tuple(part for part in path if part)
            for alias in node.names:
                yield (*path, alias.name)


def test_imports_between_rooms_go_down() -> None:
    wrong = []
    for module, file in modules().items():
        room = module[0]
        assert room in FLOOR, f"{'/'.join(module)} is in no room"
        for other in imported(module, file):
            if other[0] != room and FLOOR.get(other[0], 99) >= FLOOR[room]:
                wrong.append(f"{'/'.join(module)} -> {'.'.join(other)}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {}
    for module, file in known.items():
        names = list(imported(module, file))
        graph[module] = {found for name in names for found in (name, name[:-1]) if found in known}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(".".join(module) for module in error.args[1]))


def test_modules_are_short() -> None:
    lines = {
        "/".join(module): len(file.read_text("utf-8").splitlines())
        for module, file in modules().items()
    }
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


def test_every_room_says_what_it_is_for() -> None:
    for room in {module[0] for module in modules() if len(module) > 1} - {"cli"}:
        contract = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8")))
        assert contract and "Knows:" in contract and "Must not know:" in contract, room


@pytest.mark.skipif(not MAP.is_file(), reason="installed without the docs")
def test_the_map_names_rooms_and_modules_that_exist() -> None:
    text = MAP.read_text(encoding="utf-8")
    rooms = {module[0] for module in modules() if len(module) > 1}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == rooms
    drawing = text.partition("```text")[2].partition("```")[0]
    floors = re.findall(r"^(\d)(.*)$", drawing, re.MULTILINE)
    assert [int(number) for number, _ in floors] == list(range(len(FLOORS), 0, -1))
    for (_, line), names in zip(floors, reversed(FLOORS), strict=True):
        assert set(re.findall(r"\w+", line)) - {"lm_eval_lora_boundary"} == names
    for path in re.findall(r"`(\w+/\w+\.py)`", text):
        assert (PACKAGE / path).is_file() or (PACKAGE.parent / path).is_file(), path


def test_the_quick_tests_exist_and_cover_every_room() -> None:
    folder = Path(__file__).parent
    lines = (folder / "quick.txt").read_text(encoding="utf-8").splitlines()
    files = [Path(line.partition("::")[0]) for line in lines if not line.startswith("#")]
    assert all((folder.parent / file).is_file() for file in files)
    rooms = {module[0] for module in modules() if len(module) > 1}
    covered = {file.parts[1] for file in files} | {"vllm"}  # whose tests are in without_vllm
    assert rooms <= covered and Path("tests/without_vllm/test_vllm_model.py") in files
