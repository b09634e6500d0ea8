"""The insides of lm-eval, but for those of its models: works with 0.4.13 and the 0.5 line.

Nothing here imports torch.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.utils import (
    get_rolling_token_windows,
    handle_non_serializable,
    hash_string,
    sanitize_model_name,
    set_torch_seed,
    simple_parse_args_string,
)

__all__ = [
    "DEFAULT_OTHER_SEED",
    "DEFAULT_RANDOM_SEED",
    "compute_no_metrics",
    "computed_metric",
    "directions",
    "exact_match",
    "example_format",
    "filter_names",
    "filtered",
    "full_name",
    "get_rolling_token_windows",
    "handle_non_serializable",
    "hash_string",
    "is_lm_eval_mean",
    "load_data",
    "matching_tasks",
    "maybe_delimit",
    "merge_dict_action",
    "named_choice",
    "own_aggregation",
    "quiet_git",
    "request",
    "response_prefix",
    "rolling_text",
    "runs_code",
    "sample_size",
    "sanitize_model_name",
    "set_torch_seed",
    "simple_parse_args_string",
    "task_class",
]


def request(kind: str, arguments: tuple[Any, ...], number: int) -> Any:
    """Return a request for a model, as if a task had built it.

    Args:
        kind: The model's method, such as ``generate_until``.
        arguments: Its arguments.
        number: Number of the request, and of a document that has no content.
    """
    from lm_eval.api import task
    from lm_eval.api.instance import Instance

    if kind == "loglikelihood_rolling" and hasattr(task, "LoglikelihoodRollingTask"):
        arguments = ("", *arguments)  # 0.5: an empty context before the text
    # 0.4 takes the facts from metadata alone, and 0.5 wants two of them by name
    metadata = ("", number, 1)
    return Instance(kind, {}, arguments, idx=number, metadata=metadata, task_name="", doc_id=number)


@contextmanager
def quiet_git() -> Iterator[None]:
    """Keep ``git``'s complaint from the terminal where there is no repository.

    ``simple_evaluate`` asks ``git`` for the commit of the current folder, and lets it write to the
    terminal. No setting of lm-eval or ``git`` changes that, so for the time of an evaluation its
    function is replaced where there is no repository, which has the same result: no commit.
    """
    git = shutil.which("git")
    if git is None or _is_repository(git):
        yield
        return
    with patch("lm_eval.evaluator.get_git_commit_hash", lambda: None):
        yield


def _is_repository(git: str) -> bool:
    asked = subprocess.run([git, "describe", "--always"], capture_output=True, check=False)
    return asked.returncode == 0


def rolling_text(request: Any) -> str:
    """Return the text of a request for the log-likelihood of a whole text."""
    return str(request.args[-1])


def named_choice(task: Any, doc: Any) -> tuple[Any, Any]:
    """Return what a task that scores choices says of the right one, and what it chooses from.

    Args:
        task: The task.
        doc: The document.

    Returns:
        Its number, its text or several of these; None for none. And the choices, which may be
        prompts; None if the target is a continuation, as in tasks that are written in Python.
    """
    from lm_eval.api.task import ConfigurableTask, Task

    if ConfigurableTask is Task:  # 0.5: one class for all tasks, and the target is a number
        several = getattr(task, "_multiple_inputs", False)
        return task.doc_to_target(doc), (task.doc_to_text if several else task.doc_to_choice)(doc)
    if not isinstance(task, ConfigurableTask):
        return task.doc_to_target(doc), None
    # if the choices are prompts, the text is the number of the right one
    named = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    return named, task.doc_to_choice(doc)


def matching_tasks(manager: Any, pattern: str) -> list[str]:
    """Return the tasks, groups and tags whose names match a pattern; none if it is unknown."""
    known = set(manager.all_tasks)
    # 0.5 gives back a pattern that nothing matches; its names may end in a format or a member
    return [
        name
        for name in manager.match_tasks([pattern])
        if name.partition("@")[0].partition("::")[0] in known
    ]


def load_data(tasks: Iterable[Any]) -> None:
    """Load the data of tasks, and read the documents that they would evaluate.

    0.4 does so when it builds a task from YAML, and 0.5 only once they are needed, after the model
    is loaded.
    """
    for task in tasks:
        read = hasattr(task, "task_docs")  # 0.4
        if not read and (task.has_test_docs() or task.has_validation_docs()):
            _ = task.eval_docs


def full_name(task: Any) -> str:
    """Return the name of a task in lm-eval's results: in 0.5, ``GROUP::TASK`` in a group."""
    return str(getattr(task, "_qualified_name", task.task_name))


def computed_metric(function: Callable[..., Any]) -> Any:
    """Return what a task's YAML can name a metric that ``process_results`` computes.

    Its name, in general. 0.5 takes a name for its own metric of that name, and refuses the task if
    that is for other requests: its ``f1`` is for choices. It takes the name from a function too.
    """
    from lm_eval.api import registry

    registry.get_aggregation("mean")  # fills the registries
    name = function.__name__
    own = getattr(registry, "metric_registry", {}).get(name, None)
    kinds = getattr(own, "output_type", None)  # 0.4 has a function without it
    return name if kinds is None or "generate_until" in kinds else function


def directions(task: Any) -> dict[str, bool | None]:
    """Return whether a higher value is better, by metric; None if the task does not say.

    0.5 says that it is where a task's YAML says null.
    """
    found = dict(task.higher_is_better())
    for each in getattr(getattr(task, "config", None), "metric_list", None) or ():
        name = getattr(each["metric"], "__name__", each["metric"])
        if name in found and each.get("higher_is_better", True) is None:
            found[name] = None
    return found


def response_prefix(task: Any, doc: Any) -> str | None:
    """Return the text with which a task begins the response to a document; None for none."""
    if hasattr(task, "doc_to_prefix"):
        prefix: str | None = task.doc_to_prefix(doc)
    else:  # 0.5
        prefix = task._resolve_field(doc, task.config.gen_prefix)
    return prefix


def example_format(task: Any) -> Any:
    """Return a task's config of few-shot examples."""
    return task.fewshot_cfg if hasattr(task, "fewshot_cfg") else task._fewshot_cfg  # 0.5


def runs_code(task: Any) -> bool:
    """Return whether a task runs code that the model writes."""
    # 0.5 has it in the config only
    config = getattr(task, "config", None)
    return bool(getattr(task, "UNSAFE_CODE", False) or getattr(config, "unsafe_code", False))


def compute_no_metrics(tasks: Iterable[Any]) -> None:
    """Prepare tasks for an evaluation with ``predict_only``; they cannot be scored afterwards.

    0.5 replaces all metrics by one that its own scorers cannot read.
    """
    for task in tasks:
        if hasattr(task, "process_instances"):
            task.process_instances = lambda: None
            task.override_metric = lambda metric_name: None


def sample_size(task: Any, limit: float | None) -> int | None:
    """Return how many documents of a task a limit allows; None for all."""
    from lm_eval import evaluator_utils

    # private in 0.5
    count = getattr(evaluator_utils, "get_sample_size", None) or evaluator_utils._get_sample_size
    size: int | None = count(task, limit)
    return size


def maybe_delimit(prefix: str, suffix: str) -> str:
    """Join two texts as lm-eval does: with a space unless one of them has white space there."""
    try:
        from lm_eval.api.utils import maybe_delimit as join
    except ModuleNotFoundError:  # 0.5
        from lm_eval.api._utils import maybe_delimit as join
    return str(join(prefix, suffix))


def filter_names(task: Any) -> list[str]:
    """Return the names of a task's filters, which are second in the keys of its results."""
    # 0.5: a scorer has a filter and the metrics after it, and its name
    return [each.name for each in getattr(task, "scorers", None) or task._filters]


def filtered(responses: Sequence[Any]) -> list[Any]:
    """Return what a filter gives back that keeps one response to each document."""
    from lm_eval.filters.selection import TakeFirstFilter

    # 0.5 has a list of the responses that are left
    return list(TakeFirstFilter().apply([[each] for each in responses], [{}] * len(responses)))


def task_class(output_type: str) -> Any:
    """Return lm-eval's class of the tasks with an output type, to make a subclass of it."""
    from lm_eval.api.task import ConfigurableTask

    # 0.5 has a class for each output type, and a table of them
    return getattr(ConfigurableTask, "_registry", {}).get(output_type, ConfigurableTask)


def own_aggregation(metric: str, name: str | None) -> Callable[..., float] | None:
    """Return a function of lm-eval that aggregates documents.

    Args:
        metric: The metric, whose own aggregation is meant if there is no name.
        name: Name of the aggregation; anything but a name of lm-eval's, such as the source of a
            task's function, is unknown.

    Returns:
        The function; None if lm-eval does not know it.
    """
    from lm_eval.api import registry

    registry.get_aggregation("mean")  # fills the registries; for an unknown name, it would warn
    function: Callable[..., float] | None
    if name is not None:
        function = registry.AGGREGATION_REGISTRY.get(name, None)
    elif hasattr(registry, "METRIC_AGGREGATION_REGISTRY"):
        function = registry.METRIC_AGGREGATION_REGISTRY.get(metric, None)
    else:  # 0.5: an attribute of the metric
        function = getattr(registry.metric_registry.get(metric, None), "aggregation", None)
    return function


def is_lm_eval_mean(aggregation: Any) -> bool:
    """Return whether an aggregation is lm-eval's mean over documents."""
    from lm_eval.api.metrics import mean

    return aggregation is mean


def exact_match(prediction: str, reference: str, **options: Any) -> Any:
    """Return what lm-eval's metric ``exact_match`` says of a text: 1 or 0."""
    import numpy as np
    from lm_eval.api.metrics import exact_match_fn

    scores = exact_match_fn(predictions=[prediction], references=[reference], **options)
    return np.mean(scores["exact_match"])  # of one: 0.5 has a list


def merge_dict_action() -> Any:
    """Return the argparse action with which lm-eval reads ``--model_args`` and the like."""
    from lm_eval._cli.utils import MergeDictAction

    return MergeDictAction
