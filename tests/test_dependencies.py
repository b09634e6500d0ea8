"""What the package imports, what it declares, and what it says if an extra is missing."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from packaging.requirements import Requirement

import lm_eval_lora_boundary
from lm_eval_lora_boundary.discovery import tasks_folder
from lm_eval_lora_boundary.errors import MissingPackageError, require_package
from lm_eval_lora_boundary.harness.base_loader import BaseLM
from lm_eval_lora_boundary.harness.task_metrics import bleu_ja
from lm_eval_lora_boundary.harness.tasks import load_tasks, task_manager
from lm_eval_lora_boundary.sweeps.demo import embedded_model

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PACKAGE = Path(lm_eval_lora_boundary.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"
# what the rooms that need an extra import beyond the core
OPTIONAL = {"train": {"trl"}, "vllm": {"vllm"}, "loggers": {"wandb"}}


def imported(file: Path) -> Iterator[str]:
    """Yield the top-level names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def distributions(modules: set[str]) -> set[str]:
    """Return the normalised names of the distributions that third-party modules come from."""
    known = packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {PACKAGE.name}
    found = {known.get(module, [module])[0] for module in foreign}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    if not PROJECT.is_file():
        pytest.skip("installed without pyproject.toml")
    content: dict[str, Any] = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    return content


def test_what_is_imported_is_what_is_declared(project: dict[str, Any]) -> None:
    declared = {Requirement(line).name for line in project["dependencies"]}
    core: set[str] = set()
    for file in [*PACKAGE.rglob("*.py"), *tasks_folder().rglob("*.py")]:
        core |= set(imported(file)) - OPTIONAL.get(file.parent.name, set())
    assert distributions(core) == declared


def test_every_dependency_has_a_lower_bound_and_no_other(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    for line in lines:
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            assert [each.operator for each in requirement.specifier] == [">="], line


def test_all_has_every_extra_for_users(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    (line,) = extras["all"]
    assert Requirement(line).extras == set(extras) - {"all", "dev", "docs"}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that hides an installed module."""
    find_spec = importlib.util.find_spec

    def hide(name: str) -> None:
        def found(module: str, package: str | None = None) -> Any:
            return None if module == name else find_spec(module, package)

        for using in ("errors", "stats.statistic"):
            monkeypatch.setattr(f"{PACKAGE.name}.{using}.find_spec", found)

    return hide


def test_an_installed_package_is_not_missed() -> None:
    require_package("json", "numpy", extra="none", what="this test")


def one_line(text: str, needed: str, extra: str) -> bool:
    """Return whether a text is one line that names the module and the command for its extra."""
    command = f"pip install 'lm-eval-lora-boundary[{extra}]'"
    return len(text.splitlines()) == 1 and f" needs {needed}; install it with: {command}" in text


def test_train_without_trl(without: Callable[[str], None]) -> None:
    without("trl")
    done = command_line("train", "--pretrained", "x", "--task", "x", "--output", "x")
    assert done.code == 2 and not done.out
    assert one_line(done.err, "trl", "train")
    assert done.err.startswith("lora-boundary: error: ")


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("gguf", "gguf", {"gguf_file": "x.gguf"}),
        ("bitsandbytes", "quantized", {"load_in_4bit": True}),
        ("bitsandbytes", "quantized", {"load_in_8bit": True}),
    ],
)
def test_base_models_of_a_kind_whose_reader_is_missing(
    module: str, extra: str, arguments: dict[str, Any], without: Callable[[str], None]
) -> None:
    without(module)
    with pytest.raises(MissingPackageError) as error:
        BaseLM("nowhere", **arguments)
    assert one_line(str(error.value), module, extra)


def test_the_demo_without_gguf(without: Callable[[str], None]) -> None:
    without("gguf")
    with pytest.raises(MissingPackageError) as error:
        embedded_model()
    assert one_line(str(error.value), "gguf", "gguf")


@pytest.mark.parametrize("module", ["MeCab", "ipadic"])
def test_japanese_without_its_tokenizer(module: str, without: Callable[[str], None]) -> None:
    without(module)
    with pytest.raises(MissingPackageError) as error:
        bleu_ja([("a", "a")])
    assert one_line(str(error.value), module, "ja")
    with pytest.raises(MissingPackageError):  # and before any answer is computed
        load_tasks(task_manager(), ["lora_boundary_wmt23_en-ja"])
