"""``--dry-run``: what a sweep would do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cuts.keep import Cut
from ..forward.memory import row_bytes
from ..forward.requests import Answer, Generate, Request, common_beginning
from ..harness import processes
from ..harness.display import duration
from ..harness.evaluation import Evaluation
from ..harness.own_data.request import own_data
from ..harness.own_data.shown import own_tasks
from ..harness.sweep_lm import SweepLM, made_up_answers
from ..harness.tasks import find_tasks, task_manager
from ..stats.margin import Margin
from ..traces.layer_map import EVALUATIONS
from .cuts_to_score import find_cuts
from .engines import Engines, find_engines, load_model
from .expected import CHOOSING, TEST, expected_answers
from .measures import made_up_measures
from .metric import is_mean
from .race import documents_of
from .resolution import resolution, seen_so_far
from .settings import SweepSettings
from .tasks import load_controls, load_tasks
from .trial_run import trial_run


def plan(settings: SweepSettings, output: Path) -> str:
    """Return what a sweep would do, as text; write nothing.

    Raises:
        LoraBoundaryError: As :func:`.run`.
    """
    return processes.together(lambda: "\n".join(_lines(settings, output)), lambda _: None)


def _lines(settings: SweepSettings, output: Path) -> Iterator[str]:
    own = own_data(settings)
    manager: Any = None
    if own is None or settings.control:
        manager = task_manager(settings.include_path, settings.model_arguments())
    names = [own.name] if own else find_tasks(manager, settings.tasks)
    lm = load_model(settings)
    if own is not None:
        manager = own_tasks(own, lm, settings, manager)
    engines = find_engines(lm, settings.engine)
    tasks = load_tasks(manager, names, settings)
    cuts = find_cuts(lm, settings, None, made_up_measures(lm)).cuts
    margin = Margin.read(settings.margin)
    distinct: dict[str, dict[Request, None]] = defaultdict(dict)

    def note(requests: Sequence[Request], task: str) -> list[Answer]:
        distinct[task] |= dict.fromkeys(requests)
        return made_up_answers(requests, task)

    # first: predict_only takes the metrics out of the tasks
    means = {name: is_mean(task, settings.metric_name) for name, task in tasks.tasks.items()}
    Evaluation(lm, tasks, settings).at(cuts[0], note, predict_only=True)
    controls = load_controls(manager, tasks, settings)
    if controls is not None:
        Evaluation(lm, controls, settings).at(cuts[0], note, predict_only=True)
    if settings.candidates == "trace":
        yield (
            "first traces the gold answers, and then scores only boundaries around the one that "
            "the trace suggests, if there is one; at most:"
        )
    if settings.candidates == "gradient":
        yield (
            f"first computes a gradient, and then scores only the {EVALUATIONS} boundaries that it "
            "suggests for each task; at most:"
        )
    if "map" in settings.family:
        yield "first scores the cuts without each single layer, to find the order of `map`; in all:"
    why = f" ({engines.reason})" if engines.reason else ""
    yield f"{len(cuts)} cuts of {lm.layers} layers, engine {engines.name}{why}"
    seconds: dict[str, float] = {}
    for task, requests in distinct.items():
        yield from _work(task, list(requests), lm, engines, cuts, settings.batch_size)
        if engines.name != "vllm":  # which takes minutes to start
            for line, took in _times(list(requests), engines, cuts, settings.batch_size):
                yield line
                seconds[task] = seconds.get(task, 0.0) + took
        if task in tasks.tasks:
            documents = documents_of(tasks.tasks[task], settings)
            seen = seen_so_far(output, task)
            yield from resolution(documents, margin, seen, binary=means[task])
        else:
            yield "  a control task"
    if settings.race:
        yield "a race drops some of the cuts on the way, if the metric is a mean"
    if tasks.to_confirm and settings.confirm:
        confirmed = ", ".join(tasks.to_confirm)
        yield (
            "then the best, the smallest that keeps the gain, the whole adapter and the base on "
            f"the test split: {confirmed}"
        )
    if seconds:
        yield _total(seconds, expected_answers(tasks, controls, cuts, settings))
    yield f"would write to {output}"


def _times(
    requests: Sequence[Request], engines: Engines, cuts: Sequence[Cut], rows: int | None
) -> Iterator[tuple[str, float]]:
    """Yield how long the requests of a task take, by kind: in words, and in seconds."""
    for kind in dict.fromkeys(map(type, requests)):
        alike = [request for request in requests if isinstance(request, kind)]
        batch = rows or engines.rows_that_fit(max(request.length for request in alike))
        tried = trial_run(engines.engine(alike[0]), alike, cuts, batch)
        less = "" if tried.full else "; rather less, since the sweep answers more at once"
        one = "1 request was" if tried.timed == 1 else f"{tried.timed} requests were"
        yield (
            f"  takes about {duration(tried.seconds)} here: {one} answered to see{less}",
            tried.seconds,
        )


def _total(seconds: Mapping[str, float], expected: Mapping[str, Mapping[str, int]]) -> str:
    """Say how long the sweep takes in all, if the test split is as fast as the other one."""
    total = sum(seconds.values())
    for name, answers in expected.get(TEST, {}).items():
        total += seconds.get(name, 0.0) * answers / expected[CHOOSING][name]
    test = ", the test split included" if expected.get(TEST) else ""
    return f"in all about {duration(total)}{test}, after the model is loaded"


def _work(
    task: str,
    requests: Sequence[Request],
    lm: SweepLM,
    engines: Engines,
    cuts: Sequence[Cut],
    rows: int | None,
) -> Iterator[str]:
    """Yield what it takes to answer the requests of a task, each under all cuts."""
    layers, count = lm.layers, len(cuts)
    engine = engines.engine(requests[0])
    passes, separate = engine.passes(cuts), layers * count  # of one token under all cuts
    longest = max(request.length for request in requests)
    batch = rows or engines.rows_that_fit(longest)
    size = batch * row_bytes(lm.model.config, lm.model.dtype, longest) / 1e9
    shared = len(common_beginning(requests)) if engines.name == "fork" else 0
    read = sum(len(request.beginning) + 1 - shared for request in requests) + shared
    written = sum(r.max_new_tokens for r in requests if isinstance(r, Generate))
    yield f"{task}: {len(requests)} requests × {count} cuts, longest {longest} tokens"
    yield (
        f"  reads {read:,} tokens in {passes} layer passes each, {passes / separate:.2f} of the "
        f"{separate} of {count} runs; the first {shared} tokens of all requests are read once"
    )
    if written:
        alike = f"{passes} layer passes for a token that all cuts write, {separate} if they differ"
        yield f"  writes at most {written * count:,} tokens" + (
            f": {alike}" if passes < separate else ""
        )
    most = passes * read + written * separate
    yield f"  passes tokens through a layer at most {most:,} times"
    yield f"  batches of {batch} rows, keys and values of a batch up to {size:.1f} GB"
