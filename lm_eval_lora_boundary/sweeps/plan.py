"""``--dry-run``: what a sweep would do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from .expected import CHOOSING, TEST, expected_work
from .measures import made_up_measures
from .metric import is_mean
from .race import documents_of
from .resolution import resolution, seen_so_far
from .settings import SweepSettings
from .tasks import load_controls, load_tasks
from .trial_run import TrialRun, trial_run


@dataclass(frozen=True)
class _Work:
    """What it takes to answer the requests of a task under all cuts.

    Attributes:
        requests: Number of requests.
        longest: Tokens of the longest, with what may be written.
        read: Tokens to read for one cut; what all requests begin with counts once.
        written: Most tokens to write under one cut.
        share: What reading takes, as a share of one run after another.
        rows: Rows in a batch.
        memory: Bytes of its keys and values.
        trials: How long the requests of each kind will take; empty if that was not tried.
    """

    requests: int
    longest: int
    read: int
    written: int
    share: float
    rows: int
    memory: float
    trials: tuple[TrialRun, ...]

    @property
    def seconds(self) -> float:
        """How long all requests will take."""
        return sum(trial.seconds for trial in self.trials)


def plan(settings: SweepSettings, output: Path) -> str:
    """Return what a sweep would do, as text with a paragraph per line; write nothing.

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
    work = {
        task: _work(list(requests), lm, engines, cuts, settings.batch_size)
        for task, requests in distinct.items()
    }
    yield from _minutes(work, expected_work(tasks, controls, cuts, settings))
    yield ""
    yield "What it would compute:"
    yield from _first(settings)
    why = f" ({engines.reason})" if engines.reason else ""
    yield f"  {len(cuts)} cuts of {lm.layers} layers, with the engine {engines.name}{why}"
    for task, each in work.items():
        control = "" if task in tasks.tasks else ", a control task"
        writes = f" and writes at most {each.written:,}" if each.written else ""
        yield (
            f"  {task}{control}: {each.requests:,} requests under every cut, up to "
            f"{each.longest:,} tokens long; a cut reads {each.read:,} tokens{writes}"
        )
    yield from _shared(work, len(cuts))
    if settings.race:
        yield "  a race drops some of the cuts on the way, if the metric is a mean"
    if tasks.to_confirm and settings.confirm:
        yield (
            "  then, on the test split: the best cut, the smallest that keeps the gain, the whole "
            f"adapter and the base model ({', '.join(tasks.to_confirm)})"
        )
    yield ""
    most = max(work.values(), key=lambda each: each.memory)
    yield (
        f"Memory: up to {max(most.memory / 1e9, 0.1):.1f} GB beside the model, for the keys and "
        f"values of a batch of {most.rows} rows (a row is one request under one cut)."
    )
    for name, task in tasks.tasks.items():
        documents = documents_of(task, settings)
        yield ""
        yield f"What {documents:,} documents can show ({name}):"
        yield from resolution(documents, margin, seen_so_far(output, name), binary=means[name])
    yield ""
    yield f"Nothing was written; the sweep would write to {output}."


def _first(settings: SweepSettings) -> Iterator[str]:
    """Yield what comes before the cuts are scored."""
    if settings.candidates == "trace":
        yield (
            "  first a trace of the gold answers, and then only the boundaries around the one that "
            "it suggests, if there is one; at most:"
        )
    if settings.candidates == "gradient":
        yield (
            f"  first a gradient, and then only the {EVALUATIONS} boundaries that it suggests for "
            "each task; at most:"
        )
    if "map" in settings.family:
        yield "  first the cuts without each single layer, to find the order of `map`; in all:"


def _work(
    requests: Sequence[Request],
    lm: SweepLM,
    engines: Engines,
    cuts: Sequence[Cut],
    rows: int | None,
) -> _Work:
    """Find out what it takes to answer the requests of a task, each under all cuts."""
    engine = engines.engine(requests[0])
    longest = max(request.length for request in requests)
    batch = rows or engines.rows_that_fit(longest)
    shared = len(common_beginning(requests)) if engines.name == "fork" else 0
    tried = engines.name != "vllm"  # which takes minutes to start
    return _Work(
        requests=len(requests),
        longest=longest,
        read=sum(len(request.beginning) + 1 - shared for request in requests) + shared,
        written=sum(each.max_new_tokens for each in requests if isinstance(each, Generate)),
        share=engine.passes(cuts) / (lm.layers * len(cuts)),
        rows=batch,
        memory=batch * row_bytes(lm.model.config, lm.model.dtype, longest),
        trials=tuple(_trials(requests, engines, cuts, rows)) if tried else (),
    )


def _trials(
    requests: Sequence[Request], engines: Engines, cuts: Sequence[Cut], rows: int | None
) -> Iterator[TrialRun]:
    """Yield how long the requests of each kind take."""
    for kind in dict.fromkeys(map(type, requests)):
        alike = [request for request in requests if isinstance(request, kind)]
        batch = rows or engines.rows_that_fit(max(request.length for request in alike))
        yield trial_run(engines.engine(alike[0]), alike, cuts, batch)


def _minutes(work: Mapping[str, _Work], expected: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield how long the sweep takes, if the test split is as fast as the other one."""
    if not all(each.trials for each in work.values()):
        yield "How long it takes is not known: vLLM was not started to see."
        return
    on_test = {
        name: work[name].seconds * there / expected[CHOOSING][name]
        for name, there in expected.get(TEST, {}).items()
    }
    total = sum(each.seconds for each in work.values()) + sum(on_test.values())
    yield f"It would take about {duration(total)} here, after the model is loaded."
    for task, each in work.items():
        answered = sum(trial.timed for trial in each.trials)
        test = f", and {duration(on_test[task])} on the test split" if task in on_test else ""
        full = all(trial.full for trial in each.trials)
        less = "" if full else "; probably less, since the sweep answers more at once"
        yield (
            f"  {task}: about {duration(each.seconds)}{test}, judging by {answered} of "
            f"{each.requests:,} requests{less}"
        )


def _shared(work: Mapping[str, _Work], cuts: int) -> Iterator[str]:
    """Say what cuts share, where they do."""
    shares = sorted({each.share for each in work.values()})
    if shares[-1] < 1:
        found = " to ".join(f"{share:.0%}" for share in dict.fromkeys([shares[0], shares[-1]]))
        writing = ", and so does writing, while they write the same text"
        written = any(each.written for each in work.values())
        yield (
            f"  cuts share layers: reading takes {found} of the work of {cuts} separate runs"
            f"{writing if written else ''}"
        )
