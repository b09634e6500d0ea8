"""What lm-eval's loggers and the programs behind them accept.

Read from their source where it lies where we know it: importing them takes seconds, and a misspelt
option should not. Elsewhere, they are imported.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

__all__ = ["hub_arguments", "name_metrics", "run_arguments", "trackio_logger"]

Defaults = Mapping[str, Any]


def hub_arguments() -> Defaults:
    """Return the arguments of ``EvaluationTracker`` and their defaults."""
    known = _from_source("lm_eval", ["loggers/evaluation_tracker.py"], "EvaluationTracker")
    if known is None:
        from lm_eval.loggers import EvaluationTracker

        known = _from_signature(EvaluationTracker)
    # the command sets it
    return {name: default for name, default in known.items() if name != "output_path"}


def trackio_logger() -> Any:
    """Return lm-eval's logger for trackio; None for lm-eval 0.5, which has none."""
    from lm_eval import loggers

    return getattr(loggers, "TrackioLogger", None)


def name_metrics(logger: Any, samples: Mapping[str, list[dict[str, Any]]]) -> None:
    """Let a logger find the metrics in samples, which it is about to log.

    It takes their names from a task's configuration, which has the source of a metric that is a
    function, and none for a task that is written in Python.
    """
    for task, some in samples.items():
        first = some[0]["metrics"] if some else ()
        names = [name for name in first if all(name in each for each in some)]
        named = {"metric_list": [{"metric": name} for name in names]}
        logger.task_configs[task] = logger.task_configs.get(task, {}) | named


def run_arguments(package: str) -> Defaults:
    """Return the arguments of ``wandb.init`` or ``trackio.init``, and lm-eval's own beside them.

    Args:
        package: ``wandb`` or ``trackio``, which is installed.
    """
    known = _from_source(package, ["__init__.pyi", "__init__.py"], "init")
    if known is None:
        known = _from_signature(import_module(package).init)
    return {"step": None, **known}


def _from_signature(function: Callable[..., Any]) -> Defaults:
    found = signature(function).parameters.values()
    return {p.name: None if p.default is Parameter.empty else p.default for p in found}


def _from_source(package: str, files: list[str], name: str) -> Defaults | None:
    """Return the arguments of a function, or to create a class; None if the source has neither."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in (Path(folder) / each for each in files):
            if file.is_file():
                tree = ast.parse(file.read_bytes())
                if (arguments := _of_definition(tree, name)) is not None:
                    return arguments
    return None


def _of_definition(tree: ast.Module | ast.ClassDef, name: str) -> Defaults | None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_definition(node, "__init__")
        if isinstance(node, ast.FunctionDef) and node.name == name:
            given = node.args
            if given.kwarg is not None or given.vararg is not None:
                return None
            names = [each.arg for each in (*given.posonlyargs, *given.args)]
            defaults = [None] * (len(names) - len(given.defaults)) + [
                _constant(each) for each in given.defaults
            ]
            names += [each.arg for each in given.kwonlyargs]
            defaults += [_constant(each) for each in given.kw_defaults]
            return {
                each: value for each, value in zip(names, defaults, strict=True) if each != "self"
            }
    return None


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
