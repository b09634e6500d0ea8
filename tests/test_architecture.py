"""The layout of the package is the one that docs/architecture.md describes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lm_eval_lora_boundary
from lm_eval_lora_boundary.discovery import tasks_folder

PACKAGE = Path(lm_eval_lora_boundary.__file__).parent
MAP = PACKAGE.parent / "docs/architecture.md"
MOST_LINES = 300
FLOORS = (
    {"errors", "untrusted", "discovery", "upstream"},
    {"cuts", "forward", "stats", "files", "text_table"},
    {"harness", "report", "compare"},
    {"exports", "traces", "train"},
    {"vllm"},
    {"sweeps"},
    {"cli", "__init__"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# what contracts forbid although the floors allow it
FORBIDDEN_ROOMS = {
    "harness": {"stats"},
    "report": {"cuts", "forward", "stats"},
    "compare": {"cuts", "forward"},
    "exports": {"stats", "report", "compare"},
    "train": {"stats", "report", "compare"},
    "traces": {"stats", "compare"},
    "vllm": {"traces", "train", "stats", "report", "compare"},
    "sweeps": {"exports", "train", "compare"},
}
_MODELS = {"torch", "transformers", "peft", "accelerate", "trl", "vllm"}
_PLOTS = {"matplotlib", "jinja2", "rich"}
FORBIDDEN_PACKAGES = {
    "errors": _MODELS | _PLOTS | {"lm_eval", "numpy"},
    "untrusted": _MODELS | _PLOTS | {"lm_eval", "numpy"},
    "files": _MODELS | _PLOTS | {"lm_eval", "numpy"},
    "text_table": _MODELS | {"lm_eval", "numpy", "matplotlib", "jinja2"},
    "discovery": _MODELS | _PLOTS | {"numpy"},
    "upstream": _PLOTS | {"accelerate", "trl", "vllm", "scipy"},
    "cuts": _PLOTS | {"lm_eval", "trl", "vllm", "scipy", "sqlite3"},
    "forward": _PLOTS | {"lm_eval", "accelerate", "tokenizers", "trl", "vllm", "scipy"},
    "stats": _MODELS | _PLOTS | {"lm_eval", "pathlib", "json"},
    "harness": _PLOTS | {"trl", "vllm", "scipy"},
    "report": _MODELS | {"lm_eval", "scipy", "sqlite3"},
    "compare": _MODELS | {"matplotlib"},
    "exports": {"trl", "vllm", "scipy", "matplotlib", "lm_eval"},
    "train": _PLOTS | {"vllm", "scipy"},
    "traces": _PLOTS | {"trl", "vllm", "scipy"},
    "vllm": _PLOTS | {"trl", "scipy"},
    "sweeps": _PLOTS | {"trl", "vllm", "scipy"},
}
# what a module of upstream stands for in the contracts above
STANDS_FOR = {
    "lm_eval": {"lm_eval"},
    "lm_eval_models": {"lm_eval", "torch"},
    "loggers": {"lm_eval"},
    "peft": {"peft", "torch"},
    "transformers": {"transformers", "torch"},
}
DEPENDENCIES = ("lm_eval", "peft", "transformers")
# what may be imported anywhere: documented names. All else is an inside, for upstream alone.
PUBLIC = {
    "lm_eval": {""},
    "lm_eval.api.filter": {"Filter"},
    "lm_eval.api.instance": {"Instance"},
    "lm_eval.api.samplers": {"ContextSampler"},
    "lm_eval.api.task": {"ConfigurableTask", "Task"},
    "lm_eval.loggers": {"EvaluationTracker", "WandbLogger"},
    "lm_eval.models.huggingface": {"HFLM"},
    "lm_eval.models.vllm_causallms": {"VLLM"},
    "lm_eval.tasks": {"TaskManager"},
    "peft": {
        *("", "LoraConfig", "PeftConfig", "PeftModel", "get_peft_model"),
        *("get_peft_model_state_dict", "load_peft_weights"),
    },
    "transformers": {
        *("", "DynamicCache", "EosTokenCriteria", "GenerationConfig", "LogitsProcessor"),
        *(
            "MaxLengthCriteria",
            "PreTrainedModel",
            "PretrainedConfig",
            "ProgressCallback",
            "TrainerCallback",
        ),
        "set_seed",
    },
}
# the program, and a public API of its own
IMPORT_THEIR_MODULES = {"cli", "compare"}
Module = tuple[str, ...]


def modules() -> dict[Module, Path]:
    """Return the package's modules by their path, without the bundled tasks."""
    found = {
        file.relative_to(PACKAGE).with_suffix("").parts: file for file in PACKAGE.rglob("*.py")
    }
    return {module: file for module, file in found.items() if module[0] != "tasks"}


def imports(module: Module, file: Path) -> Iterator[tuple[bool, Module]]:
    """Yield what a module imports, in functions and for annotations too.

    Each comes as a path, after whether it is one in this package.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            paths = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = (PACKAGE.name, *module)[: len(module) + 1 - node.level] if node.level else ()
            path = (*above, *(node.module or "").split("."))
            paths = [(*filter(None, path), alias.name) for alias in node.names]
        else:
            continue
        for path in paths:
            ours = path[0] == PACKAGE.name
            yield ours, path[1:] if ours else path


def imported(module: Module, file: Path) -> Iterator[Module]:
    """Yield what a module imports of this package."""
    return (path for ours, path in imports(module, file) if ours and path)


def submodules(file: Path) -> Iterator[str]:
    """Yield the modules below a dependency that are used as attributes of it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        path = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else []
        if len(path) == 3 and path[0] in DEPENDENCIES and path[1].islower():
            yield ".".join(path)


@pytest.mark.parametrize(
    "line",
    [
        "from ..stats.race import Race",
        "from lm_eval_lora_boundary.stats.race import Race",
        "import lm_eval_lora_boundary.stats.race",
        "def function():\n    from ..stats import race",
        "def function():\n    from lm_eval_lora_boundary.stats import race",
        "from lm_eval_lora_boundary import stats",
        "from .. import stats",
    ],
)
def test_every_way_to_import_is_seen(line: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(line)
    assert [path[0] for path in imported(("room", "module"), file)] == ["stats"]


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


def test_no_room_imports_what_its_contract_forbids() -> None:
    wrong = [
        f"{'/'.join(module)} -> {'.'.join(path)}"
        for module, file in modules().items()
        for ours, path in imports(module, file)
        if path and path[0] in (FORBIDDEN_ROOMS if ours else FORBIDDEN_PACKAGES).get(module[0], ())
    ]
    assert not wrong


def test_upstream_stands_for_the_packages_behind_it() -> None:
    wrong = [
        f"{'/'.join(module)} -> {'.'.join(path)}"
        for module, file in modules().items()
        for path in imported(module, file)
        if path[0] == "upstream"
        and module[0] != "upstream"
        and FORBIDDEN_PACKAGES.get(module[0], set()) & STANDS_FOR[path[1]]
    ]
    assert not wrong
    assert {each[1] for each in modules() if each[0] == "upstream"} == {"__init__", *STANDS_FOR}


def test_upstream_alone_knows_the_insides_of_dependencies() -> None:
    files = [(module, file) for module, file in modules().items() if module[0] != "upstream"]
    files += [(("tasks", file.parent.name), file) for file in tasks_folder().rglob("*.py")]
    public = {f"{path}.{name}".rstrip(".") for path, names in PUBLIC.items() for name in names}
    found = {
        (".".join(path), "/".join(module))
        for module, file in files
        for ours, path in imports(module, file)
        if not ours and path[0] in DEPENDENCIES
    }
    found |= {(path, "/".join(module)) for module, file in files for path in submodules(file)}
    insides = {(path, module) for path, module in found if path not in public}
    assert insides == {("lm_eval.api.registry", "discovery")}  # which upstream would start too late
    assert public == {path for path, _ in found} - {"lm_eval.api.registry"}, "not used any more"


def test_what_is_known_of_lm_eval_needs_no_torch() -> None:
    file = PACKAGE / "upstream" / "lm_eval.py"
    assert {path[0] for _, path in imports(("upstream", "lm_eval"), file)}.isdisjoint(_MODELS)


def test_rooms_import_nothing_by_themselves() -> None:
    for (room, *rest), file in modules().items():
        if rest == ["__init__"] and room not in IMPORT_THEIR_MODULES:
            assert not list(imports((room, *rest), file)), room


def test_the_command_line_starts_without_torch() -> None:
    heavy = sorted(_MODELS | _PLOTS - {"rich"} | {"lm_eval", "scipy"})
    code = f"import sys, {PACKAGE.name}.cli; print(*sorted(sys.modules.keys() & set({heavy})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


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


def listed(name: str) -> list[Path]:
    """Return the test files that a list names."""
    folder = Path(__file__).parent
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    files = [Path(line.partition("::")[0]) for line in lines if not line.startswith("#")]
    assert all((folder.parent / file).is_file() for file in files), name
    return files


def test_the_quick_tests_exist_and_cover_every_room() -> None:
    files = listed("quick.txt")
    rooms = {module[0] for module in modules() if len(module) > 1}
    covered = {file.parts[1] for file in files} | {"vllm"}  # whose tests are in without_vllm
    assert rooms <= covered and Path("tests/without_vllm/test_vllm_model.py") in files


def test_the_tests_of_the_newest_releases_cover_the_rooms_that_use_them() -> None:
    rooms = {
        module[0]
        for module, file in modules().items()
        for ours, path in imports(module, file)
        if len(module) > 1 and (path[:1] == ("upstream",) if ours else path[0] in DEPENDENCIES)
    }
    covered = {file.parts[1] for file in listed("newest.txt")}
    assert rooms - {"cli", "compare", "vllm"} <= covered
