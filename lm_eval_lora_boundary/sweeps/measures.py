"""How much each layer of the adapter matters, by what the model does on the sweep's tasks."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from functools import partial

from ..cuts.families import Adapted, Importance, each
from ..cuts.fingerprint import json_sha256
from ..cuts.importance import output_norms, update_norms
from ..errors import ModelError, NotFiniteError, OutputError
from ..forward.requests import Answer, Generate, Request
from ..harness.evaluation import Evaluation
from ..harness.sweep_lm import SweepLM, made_up_answers
from .cuts_to_score import Measures, adapted
from .metric import choose_metric
from .scheduler import Scheduler
from .scores import measure
from .settings import SweepSettings

_PROMPTS = 32  # of each task; the order of layers settles long before


def measures(
    lm: SweepLM, evaluation: Evaluation, scheduler: Scheduler, settings: SweepSettings
) -> Measures:
    """Return the measures that orders of layers are made from."""
    return {
        "norm": lambda: update_norms(lm.cut),
        "output": lambda: _by_output(lm, evaluation, scheduler),
        "map": lambda: _by_map(lm, evaluation, scheduler, settings),
    }


def made_up_measures(lm: SweepLM) -> Measures:
    """Return measures for when only the number of cuts matters; no two give the same order."""
    layers = adapted(lm, {}).layers

    def shuffled(seed: int) -> Importance:
        return dict(zip(layers, random.Random(seed).sample(layers, len(layers)), strict=True))

    return {
        "norm": lambda: update_norms(lm.cut),
        "output": partial(shuffled, 1),
        "map": partial(shuffled, 2),
    }


def _by_output(lm: SweepLM, evaluation: Evaluation, scheduler: Scheduler) -> Importance:
    """Measure LoRA's output on the first prompts of the tasks."""
    prompts: dict[str, dict[tuple[int, ...], None]] = {}

    def note(requests: Sequence[Request], task: str) -> list[Answer]:
        # what the model reads: a prompt, or a context and what is scored after it
        texts = (
            r.prompt if isinstance(r, Generate) else r.context + r.continuation[:-1]
            for r in requests
        )
        prompts.setdefault(task, {}).update(dict.fromkeys(texts))
        return made_up_answers(requests, task)

    # not predict_only, with which lm-eval takes the metrics out of the tasks for good
    evaluation.at(lm.cut.current, note)
    first = [text for texts in prompts.values() for text in list(texts)[:_PROMPTS]]
    with lm.precision():
        found = output_norms(lm.cut, first, lm.device)
    if not all(map(math.isfinite, found.values())):
        raise ModelError(
            "family=output: LoRA's output on the first prompts is NaN or infinite in "
            f"{lm.model.dtype}; {NotFiniteError.REMEDY}"
        )
    # a resumed run must not order layers in another way because of rounding
    noted = scheduler.noted(f"LoRA's output on {json_sha256(first)}", json.dumps(found))
    try:
        return {int(layer): float(value) for layer, value in json.loads(noted).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(
            f"the stored measure of LoRA's output cannot be read ({error}); choose another --output"
        ) from error


def _by_map(
    lm: SweepLM, evaluation: Evaluation, scheduler: Scheduler, settings: SweepSettings
) -> Importance:
    """Measure what is lost without each layer alone."""
    ((name, task),) = evaluation.tasks.tasks.items()
    model: Adapted = adapted(lm, {})
    whole = lm.cut.cut(lm.layers - 1)
    cuts = [whole, *each(model, "")]
    lm.check(cuts)
    values: list[float] = []
    higher_is_better = True
    for cut in cuts:
        results = evaluation.at(cut, scheduler.at(cut, cuts))
        metric = choose_metric(task, results, settings.metric_name)
        higher_is_better = metric.higher_is_better
        values.append(measure(name, metric, cut, results).value)
    lost = [values[0] - value for value in values[1:]]
    sign = 1 if higher_is_better else -1
    # without a value, nothing is known to be lost
    return {
        layer: sign * loss if math.isfinite(loss) else 0.0
        for layer, loss in zip(model.layers, lost, strict=True)
    }
