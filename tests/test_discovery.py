"""Discovery by a released lm-eval: from a wheel, from an editable install, after uninstalling.

Tests run in virtual environments that see the packages of this one, so that Python starts there as
it does for users.
"""

from __future__ import annotations

import importlib.metadata
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary import discovery

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # the source distribution, and the wheel from it, as they are published
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_what_is_built_can_be_uploaded(wheel: Path) -> None:
    (source,) = wheel.parent.glob("*.tar.gz")
    check = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class Environment:
    """A fresh virtual environment that sees lm-eval, but not this package."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / version / "site-packages"
        # Through PYTHONPATH: through a .pth file, the .pth files of these packages would run too.
        self.path = os.pathsep.join(site.getsitepackages())

    def pip(self, *arguments: str, build: bool = False) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.python)]
        # the build backend is installed in the environment of the tests
        env = os.environ | ({"PYTHONPATH": self.path} if build else {})
        subprocess.run([*pip, *arguments], check=True, capture_output=True, env=env)

    def install(self, wheel: Path | None) -> None:
        """Install a wheel; if it is None, this checkout in editable mode."""
        if wheel is not None:
            self.pip("install", "--no-deps", str(wheel))
        else:
            self.pip(*("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)), build=True)

    def run(self, code: str, *, cwd: Path) -> str:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        env |= {"PYTHONPATH": self.path, "PYTHONWARNINGS": "error::ImportWarning"}
        run = subprocess.run(
            [str(self.python), "-c", code],
            capture_output=True,
            text=True,
            env=env,
            cwd=cwd,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.slow)])
def installed(request: Any, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp(request.param) / "venv")
    environment.install(wheel if request.param == "wheel" else None)
    return environment


def test_the_model_is_found_and_built_in_models_remain(
    installed: Environment, tmp_path: Path
) -> None:
    out = installed.run(
        """
import sys
assert "torch" not in sys.modules and "lm_eval" not in sys.modules
from lm_eval.api.registry import get_model, model_registry
try: get_model("?")  # fills the registry
except ValueError: pass
from lm_eval.models import MODEL_MAPPING
assert set(MODEL_MAPPING) < set(model_registry), "built-in models remain"
print(model_registry._objs["lora_boundary"], "lm_eval_lora_boundary.harness.model" in sys.modules)
print(get_model("lora_boundary").__name__, get_model("hf").__name__)
""",
        cwd=tmp_path,
    )
    assert out.splitlines() == [
        "lm_eval_lora_boundary.harness.model:LoraBoundaryLM False",
        "LoraBoundaryLM HFLM",
    ]


def test_the_tasks_are_found_and_built_in_tasks_remain(
    installed: Environment, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "task.yaml").write_text("task: own_task\ndataset_path: nowhere\n")
    out = installed.run(
        """
import logging
logging.basicConfig(level="WARNING", format="WARNED %(message)s", stream=__import__("sys").stdout)
from lm_eval.tasks import TaskManager
ours = TaskManager().all_tasks
assert {"gsm8k", "lora_boundary", "lora_boundary_gsm8k"} <= set(ours)
assert not any(n.startswith("lora_boundary") for n in TaskManager(include_defaults=False).all_tasks)
own = TaskManager(include_path="own")
assert own.include_path == "own" and {"own_task", "lora_boundary"} <= set(own.all_tasks)
from lm_eval_lora_boundary.discovery import tasks_folder
again = TaskManager(include_path=str(tasks_folder()))
assert "lora_boundary" in again.all_tasks
print(tasks_folder().is_dir())
""",
        cwd=tmp_path,
    )
    assert out == "True"


def test_lm_eval_ls_tasks(installed: Environment, tmp_path: Path) -> None:
    out = installed.run(
        "import sys; sys.argv = ['lm-eval', 'ls', 'tasks']; "
        "from lm_eval.__main__ import cli_evaluate; cli_evaluate()",
        cwd=tmp_path,
    )
    names = {cell.strip() for line in out.splitlines() for cell in line.split("|")}
    assert {"gsm8k", "lora_boundary", "lora_boundary_gsm8k", "lora_boundary_wmt23"} <= names


def test_interpreter_start_imports_only_discovery(installed: Environment, tmp_path: Path) -> None:
    out = installed.run(
        "import sys; print(*sorted(m for m in sys.modules if 'lora' in m or m in "
        "('torch', 'lm_eval', 'typing', 'importlib.metadata', 'inspect', 'logging')))",
        cwd=tmp_path,
    )
    assert out == "lm_eval_lora_boundary lm_eval_lora_boundary.discovery"


def test_models_are_left_to_an_lm_eval_that_reads_entry_points(
    installed: Environment, tmp_path: Path
) -> None:
    """A stand-in for lm-eval after 0.4.13, whose ``lm_eval.models`` registers entry points."""
    out = installed.run(
        """
import importlib.metadata, sys
import lm_eval.api.registry as registry
for point in importlib.metadata.entry_points(group="lm_eval.models"):
    registry.model_registry.register(point.name, target=point)
import lm_eval.models
from lm_eval_lora_boundary.discovery import MODELS
print({type(registry.model_registry._objs[name]).__name__ for name in MODELS})
print(registry.get_model("lora_boundary").__name__)
""",
        cwd=tmp_path,
    )
    assert out.splitlines() == ["{'EntryPoint'}", "LoraBoundaryLM"]


def test_tasks_are_found_once_by_an_lm_eval_that_reads_entry_points(
    installed: Environment, tmp_path: Path
) -> None:
    """A stand-in for lm-eval's pull request 4015: the folder of the package that is named."""
    out = installed.run(
        """
import functools, importlib.metadata, importlib.util, logging, sys
from pathlib import Path
logging.basicConfig(level="WARNING", format="WARNED %(message)s", stream=sys.stdout)
from lm_eval.tasks import manager

def discover_plugin_task_paths():
    # not entry_points(): an older installation may come first on the path
    installed = importlib.metadata.distributions(name="lm-eval-lora-boundary")
    points = [point for each in installed for point in each.entry_points]
    values = {point.value for point in points if point.group == "lm_eval.tasks"}
    specs = [importlib.util.find_spec(value) for value in values]
    return [Path(spec.submodule_search_locations[0]).resolve() for spec in specs]

class WithPlugins(manager.TaskManager):
    def __init__(self, include_path=None):
        super().__init__(include_path=[*discover_plugin_task_paths(), *(include_path or [])])

manager.discover_plugin_task_paths = discover_plugin_task_paths
print(len(discover_plugin_task_paths()), "lora_boundary_gsm8k" in WithPlugins().all_tasks)
""",
        cwd=tmp_path,
    )
    assert out == "1 True"  # and no warning that a task overrides another


def test_built_in_models_are_not_replaced(installed: Environment, tmp_path: Path) -> None:
    out = installed.run(
        """
import lm_eval_lora_boundary.discovery as discovery
discovery.MODELS["hf"] = "nowhere:Nothing"
from lm_eval.api.registry import get_model
print(get_model("hf").__name__)
""",
        cwd=tmp_path,
    )
    assert out == "HFLM"


def test_an_unknown_lm_eval_only_causes_a_warning(installed: Environment, tmp_path: Path) -> None:
    """A future lm-eval may look different. It must still be importable."""
    package = tmp_path / "fake" / "lm_eval"
    for name, text in {
        "__init__": "",
        "models/__init__": "",
        "api/__init__": "",
        "api/registry": "",
        "tasks/__init__": "",
        "tasks/manager": "",
    }.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    out = installed.run(
        """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sys.path.insert(0, "fake")
import lm_eval.models, lm_eval.tasks.manager
print("alive")
""",
        cwd=tmp_path,
    )
    lines = out.splitlines()
    assert lines[-1] == "alive"
    assert all("could not register with this lm-eval" in line for line in lines[:-1])
    assert len(lines) == 3


@pytest.mark.parametrize("kind", ["wheel", pytest.param("editable", marks=pytest.mark.slow)])
def test_uninstalling_leaves_nothing_behind(wheel: Path, tmp_path: Path, kind: str) -> None:
    environment = Environment(tmp_path / "venv")
    before = sorted(environment.packages.rglob("*"))
    environment.install(wheel if kind == "wheel" else None)
    assert (environment.packages / "lm_eval_lora_boundary.pth").is_file()
    if kind == "wheel":
        assert (environment.packages / "lm_eval_lora_boundary" / "tasks" / "gsm8k").is_dir()
    version = environment.run(
        "import lm_eval_lora_boundary as p; print(p.__version__)", cwd=tmp_path
    )
    assert kind == "editable" or wheel.name.startswith(f"lm_eval_lora_boundary-{version}-")
    environment.pip("uninstall", "-y", "lm-eval-lora-boundary")
    assert sorted(environment.packages.rglob("*")) == before
    assert not environment.run("pass", cwd=tmp_path)


def test_a_partly_deleted_package_does_not_break_python(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(wheel)
    for file in (environment.packages / "lm_eval_lora_boundary").glob("*.py"):
        file.unlink()
    assert environment.run("print('fine')", cwd=tmp_path) == "fine"


def test_models_are_those_of_the_entry_points(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (distribution,) = importlib.metadata.distributions(path=[str(tmp_path)])
    points = distribution.entry_points.select(group="lm_eval.models")
    assert {point.name: point.value for point in points} == discovery.MODELS


def test_importing_lm_eval_first_works(tmp_path: Path) -> None:
    """As without the .pth line, with ``PYTHONPATH`` in place of an installation."""
    code = """
import lm_eval.models, lm_eval.tasks.manager
import lm_eval_lora_boundary
from lm_eval.api.registry import model_registry
from lm_eval.tasks import TaskManager
print("lora_boundary" in model_registry, "lora_boundary" in TaskManager().all_tasks)
"""
    environment = Environment(tmp_path / "venv")
    environment.path = os.pathsep.join([environment.path, str(ROOT)])
    assert environment.run(code, cwd=tmp_path) == "True True"
