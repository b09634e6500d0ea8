"""Made-up documents whose truth is known, for the simulations.

Scores of 33 cuts are correlated as those of neighbouring boundaries are: 60 % of the variance of a
latent normal variable belongs to the document, and the rest is autoregressive over the cuts (0.9).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units
from lm_eval_lora_boundary.sweeps.decision import decide
from lm_eval_lora_boundary.sweeps.metric import Metric
from lm_eval_lora_boundary.sweeps.scores import Measured, TaskScores, task_scores
from lm_eval_lora_boundary.sweeps.summary import confirmed, summarise

Array = npt.NDArray[np.float64]
Generator = np.random.Generator

CUTS = 33  # the base model, and the boundaries 0 to 31
WHOLE = CUTS - 1
LAYER = np.arange(-1, CUTS - 1)
TENTH = Margin(0.1, is_share=True)

# the true accuracy at the boundaries -1 to 31
CURVES: dict[str, Array] = {
    # layers 0 to 10, 11 to 20, 21 to 31: boundary 21 is as good as the whole adapter
    "blocks": np.select([LAYER < 0, LAYER < 11, LAYER < 21], [0.40, 0.55, 0.58], 0.60),
    "plateau": 0.40 + 0.20 / (1 + np.exp((12 - LAYER) / 1.5)),
    "decline": np.where(LAYER < 0, 0.40, 0.60 - 0.004 * (31 - LAYER)),
    "high": np.where(LAYER < 0, 0.05, 0.05 + 0.80 / (1 + np.exp((12 - LAYER) / 1.5))),
}


def latent(documents: int, generator: Generator, columns: int = CUTS) -> Array:
    """Return correlated normal variables, shape (documents, columns)."""
    noise = generator.normal(size=(documents, columns))
    for i in range(1, columns):
        noise[:, i] = 0.9 * noise[:, i - 1] + np.sqrt(1 - 0.81) * noise[:, i]
    common = generator.normal(size=(documents, 1))
    values: Array = np.sqrt(0.6) * common + np.sqrt(0.4) * noise
    return values


def right(rates: Array, documents: int, generator: Generator) -> Array:
    """Return answers that are right (1) or wrong (0) at these rates."""
    hidden = latent(documents, generator, len(rates))
    return (hidden < scipy.stats.norm.ppf(rates)).astype(float)


def drawn(values: Array, draws: int, units: Units | None = None) -> Bootstrap:
    """Return a bootstrap of so many draws."""
    return Bootstrap(Means(values), units=units, draws=draws)


def three(
    kind: str, documents: int, gain: float, disagreement: float, generator: Generator
) -> Array:
    """Return base, whole adapter, a cut that loses a tenth of the gain, and one that loses none."""
    base = generator.random(documents) < 0.1
    whole = base | (generator.random(documents) < gain / 0.9)

    def cut(loss: float) -> npt.NDArray[np.bool_]:
        chance = generator.random(documents)
        lost = chance < (loss + disagreement / 2) / (0.1 + gain)
        gained = chance < disagreement / 2 / max(0.9 - gain, 1e-9)
        return np.where(whole, ~lost, gained)

    answers = np.stack([base, whole, cut(0.1 * gain), cut(0.0)], axis=1).astype(float)
    if kind == "right or wrong":
        return answers
    if kind == "between 0 and 1":  # partly right: the same means, times the mean of the factor
        factors: Array = generator.beta(2, 3, size=(documents, 1))
        return answers * factors
    heavy: Array = generator.lognormal(0, 1, size=(documents, 1))
    return answers * heavy


SHAPES: dict[str, Callable[[int, Generator], tuple[Array, float]]] = {
    "normal": lambda n, g: (g.normal(size=n), 0.0),
    "exponential": lambda n, g: (g.exponential(size=n), 1.0),
    "lognormal, sigma 1": lambda n, g: (g.lognormal(0, 1, size=n), float(np.exp(0.5))),
    "lognormal, sigma 1.5": lambda n, g: (g.lognormal(0, 1.5, size=n), float(np.exp(1.125))),
    "Pareto, alpha 3": lambda n, g: (g.pareto(3, size=n), 0.5),
    "4 % of the documents lose": lambda n, g: ((g.random(n) < 0.04) * -0.8 * g.random(n), -0.016),
    "15 % of the documents lose": lambda n, g: ((g.random(n) < 0.15) * -0.8 * g.random(n), -0.06),
}


KINDS: dict[str, Callable[[int, Generator], tuple[Array, float]]] = {
    "right in 5 %": lambda n, g: (right(np.full(CUTS, 0.05), n, g), 0.05),
    "right in 50 %": lambda n, g: (right(np.full(CUTS, 0.5), n, g), 0.5),
    "right in 95 %": lambda n, g: (right(np.full(CUTS, 0.95), n, g), 0.95),
    "ROUGE-like": lambda n, g: (scipy.stats.norm.cdf(0.6 * latent(n, g) - 0.7), _rouge()),
    "length ratio": lambda n, g: (np.exp(latent(n, g)), float(np.exp(0.5))),
}


def _rouge() -> float:
    """Return the mean of Φ(0.6 z - 0.7) over a standard normal z."""
    return float(scipy.stats.norm.cdf(-0.7 / np.sqrt(1 + 0.36)))


def decided(rates: Array, documents: int, generator: Generator) -> dict[str, Any]:
    """Return what a sweep decides on two splits of right or wrong answers."""
    full = CUTS - 2
    entry = summarise(_scored(rates, documents, generator), (), full, "validation", TENTH)
    if not entry["not_chosen"]:
        entry = confirmed(entry, _scored(rates, documents, generator), full)
    return decide(entry, full)


def _scored(rates: Array, documents: int, generator: Generator) -> TaskScores:
    metric = Metric("acc", "none", higher_is_better=True, mean=True)
    task: Any = SimpleNamespace(task_name="t", aggregation=lambda: {"acc": None})
    values = right(rates, documents, generator)
    measured = [
        Measured(
            Cut.up_to(int(boundary), CUTS - 1),
            float(column.mean()),
            None,
            dict(enumerate(column.tolist())),
            {},
            str(boundary),
        )
        for boundary, column in zip(LAYER, values.T, strict=True)
    ]
    return task_scores(task, metric, measured)


def rate(number: float, repeats: int) -> str:
    """Return a share of repeats in percent."""
    return percent(number / repeats)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"
