"""Let lm-eval find the models and tasks of this package: a backport of its plugin discovery.

The release after lm-eval 0.4.13 will read the entry-point group ``lm_eval.models`` by itself, and
its pull request 4015 proposes a group ``lm_eval.tasks`` of packages with YAML files. Version 0.4.13
reads neither. This package declares both. A ``.pth`` line of the wheel imports this module at
interpreter start. It does two things, both only once lm-eval itself is imported:

* After ``lm_eval.models`` has registered its models, it registers those of ours that are missing,
  lazily. An lm-eval that reads the entry points has registered them by then.
* It makes ``TaskManager`` search the bundled tasks too, after lm-eval's own and before any
  ``--include_path``, unless lm-eval finds that folder through the entry point. It cannot in a
  checkout, where the tasks are beside the package.

Nothing else in this package changes the behaviour of another package.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType
    from typing import Any

# The same as the entry points in pyproject.toml. A test compares the two.
MODELS = {
    "lora_boundary": "lm_eval_lora_boundary.harness.model:LoraBoundaryLM",
    "lora_boundary_vllm": "lm_eval_lora_boundary.vllm.model:LoraBoundaryVLLM",
}


def tasks_folder() -> Path:
    """Return the folder of the bundled tasks, for ``--include_path``."""
    from pathlib import Path

    package = Path(__file__).resolve().parent
    inside = package / "tasks"  # in a wheel; in a checkout, tasks/ is beside the package
    return inside if inside.is_dir() else package.parent / "tasks"


_active = False


def activate() -> None:
    """Arrange for the two steps above. Calling it again does nothing."""
    global _active
    if _active:
        return
    _active = True
    pending: dict[str, Callable[[ModuleType], None]] = {}
    for name, action in _ACTIONS.items():
        if (module := sys.modules.get(name)) is not None:
            _run(action, module)
        else:
            pending[name] = action
    if pending:
        sys.meta_path.insert(0, _AfterImport(pending))


class _AfterImport:
    """A meta path finder that runs an action after a module has been imported."""

    def __init__(self, pending: dict[str, Callable[[ModuleType], None]]) -> None:
        self._pending = pending

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._pending:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    _call_after(spec.loader, name, self._pending[name])
                return spec
        return None


def _call_after(loader: Any, name: str, action: Callable[[ModuleType], None]) -> None:
    """Make ``loader`` run ``action`` once, after it has executed the module ``name``."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        if module.__name__ == name:
            loader.exec_module = execute
            _run(action, module)

    loader.exec_module = exec_module


def _run(action: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Run an action; if it fails, warn, so that lm-eval still works without this package."""
    try:
        action(module)
    except Exception as error:  # noqa: BLE001 - a future lm-eval may lack anything
        import logging

        logging.getLogger("lm_eval").warning(
            "lm-eval-lora-boundary could not register with this lm-eval (%s: %s); if a task is "
            "missing, pass --include_path with the folder that `lora-boundary tasks` prints",
            type(error).__name__,
            error,
        )


def _register_models(_: ModuleType) -> None:
    from lm_eval.api import registry

    for name, target in MODELS.items():
        if name not in registry.model_registry:
            registry.model_registry.register(name, target=target)


def _add_tasks_folder(manager: ModuleType) -> None:
    import functools
    import inspect
    from pathlib import Path

    task_manager: Any = manager.TaskManager
    original = task_manager.__init__
    signature = inspect.signature(original)

    @functools.cache
    def found_without_us() -> bool:
        """Return whether lm-eval itself searches our folder, as pull request 4015 does."""
        discover = getattr(manager, "discover_plugin_task_paths", list)
        return any(tasks_folder().is_relative_to(Path(path).resolve()) for path in discover())

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments.get("include_path")
        if bound.arguments.get("include_defaults", True) and not found_without_us():
            paths = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
            if tasks_folder() not in [Path(path).resolve() for path in paths]:
                # before the user's own folders: if two define a task, the later one wins
                bound.arguments["include_path"] = [tasks_folder(), *paths]
        original(*bound.args, **bound.kwargs)
        args[0].include_path = given

    task_manager.__init__ = init


_ACTIONS = {"lm_eval.models": _register_models, "lm_eval.tasks.manager": _add_tasks_folder}
