"""The metrics of a user's own rows: chosen by the gold answers, or the user's own function."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from ...errors import TaskError, first_line
from .function_name import function_file, function_name, is_function
from .lm_eval_task import LIKELIHOOD, exact_match, loglikelihood, rougeL

Function = Callable[..., Any]
METRICS: dict[str, Function] = {
    each.__name__: each for each in (exact_match, rougeL, loglikelihood)
}

# A short answer is a label or a name. Characters count where words have no spaces between them.
_SHORT_WORDS, _SHORT_CHARACTERS = 5, 50
_MOST = 0.9  # of the gold answers are short
_LABEL_ROWS = 5  # rows for each distinct gold answer, if these are labels


def suits(golds: Sequence[str]) -> tuple[str, str]:
    """Return the name of the metric that suits gold answers, and why."""
    short = [len(gold.split()) <= _SHORT_WORDS and len(gold) <= _SHORT_CHARACTERS for gold in golds]
    distinct = len(set(golds))
    if sum(short) >= _MOST * len(golds):
        return exact_match.__name__, "gold answers are short"
    if distinct * _LABEL_ROWS <= len(golds):
        return exact_match.__name__, f"there are only {distinct} different gold answers"
    return rougeL.__name__, "gold answers are long"


def functions(requested: str | None, golds: Sequence[str]) -> list[Function]:
    """Return the metrics of a task, the one to choose by first.

    Args:
        requested: A name, or the user's own function as ``FILE.py:FUNCTION``; None for the one
            that suits the gold answers.
        golds: The gold answers.

    Raises:
        TaskError: The metric is unknown, or the function cannot be used.
    """
    names = [suits(golds)[0], LIKELIHOOD]
    if requested is None:
        return [METRICS[name] for name in names]
    if is_function(requested):
        return [load_function(requested, golds[0]), *(METRICS[name] for name in names)]
    name, _, filter_name = requested.partition(",")
    if name not in METRICS or filter_name not in ("", "none"):
        raise TaskError(
            f"metric={requested} is not a metric for own rows; expected one of "
            f"{', '.join(METRICS)}, or a function of your own as FILE.py:FUNCTION"
        )
    return [METRICS[each] for each in dict.fromkeys([name, *names])]


def load_function(metric: str, gold: str) -> Function:
    """Load the user's own function, and try it on a gold answer.

    Args:
        metric: ``FILE.py:FUNCTION``.
        gold: A gold answer.

    Raises:
        TaskError: It cannot be loaded, or does not return a number.
    """
    path, name = function_file(metric), function_name(metric)
    if not name.isidentifier() or name in METRICS:
        raise TaskError(
            f"metric={metric}: {name!r} cannot be its name; expected FILE.py:FUNCTION, with a name "
            f"other than {', '.join(METRICS)}"
        )
    if not path.is_file():
        raise TaskError(f"metric={metric}: the file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"own_metric_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise TaskError(
            f"metric={metric}: {path} cannot be loaded ({type(error).__name__}: "
            f"{first_line(error)})"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise TaskError(f"metric={metric}: {path} has no function {name}")
    checked = _checked(function, metric, name)
    checked(gold, gold)
    return checked


def _checked(function: Function, metric: str, name: str) -> Function:
    @wraps(function)
    def call(response: str, gold: str) -> float:
        try:
            value = float(function(response, gold))
        except Exception as error:
            raise TaskError(
                f"metric={metric}: {type(error).__name__}: {first_line(error)}, for the response "
                f"{response[:80]!r} and the gold answer {gold[:80]!r}; expected a function "
                "(response, gold) that returns a number"
            ) from error
        if not math.isfinite(value):
            raise TaskError(
                f"metric={metric}: returned {value} for the response {response[:80]!r} and the "
                f"gold answer {gold[:80]!r}; expected a finite number"
            )
        return value

    call.__name__ = name
    return call
