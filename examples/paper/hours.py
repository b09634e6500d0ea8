"""Estimates how long the steps take on one GPU, as the table in README.md.

    python examples/paper/hours.py

Sweep and test follow from the sweeps that were measured on an H200 (docs/gpu.md): reading prompts
takes time by parameters, tokens and distinct computations; writing takes the same time for every
step, whatever the model's width and the number of cuts, since it waits for the host. Training and
trace have not been measured on a GPU; they follow from the number of multiplications and from an
assumed share of the card's peak.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np

MEASURED = Path(__file__).parents[2] / "docs/gpu"
MODELS = {  # parameters, layers
    "Phi-2": (2.78e9, 32),
    "Llama-2-7B-Chat": (6.74e9, 32),
    "Llama-3.1-8B-Instruct": (8.03e9, 32),
}
DATA = {  # tokens of a prompt and of a gold answer; training and test documents
    "hotpotqa": (1450, 4, 81_402, 7_405),
    "gsm8k": (66, 124, 6_726, 1_319),
    "samsum": (163, 25, 14_648, 819),
    "wmt23_de-en": (80, 38, 1_592, 549),
}
PEAK = 989e12  # multiply-adds and additions per second in bfloat16, without sparsity (data sheet)
TRAINING = 0.35  # assumed share of it
EPOCHS, TRACED, CHOSEN = 3, 200, 500
TRACE_PASSES = 12  # two models, and forward and back at four strengths
TESTED = 4  # cuts


def distinct(layers: int) -> float:
    """Return how many times as much as one run all boundaries compute (docs/scaling.md)."""
    return (layers + 3) / 2


def measured() -> tuple[int, float, float]:
    """Return documents at a time, seconds to read a token of each, and seconds to write one.

    Both are of the model that was measured: the last of ``MODELS``, all boundaries. A line through
    the sweeps with responses of several lengths has the reading as its beginning.
    """
    rows = {row["what"]: row["value"] for row in _rows("sweep")}
    pattern = re.compile(r"responses of (\d+) tokens, different texts: the sweep")
    found = [(int(match[1]), rows[what]) for what in rows if (match := pattern.fullmatch(what))]
    step, reading = np.polyfit(*np.array(found).T, 1)
    return int(rows["documents"]), float(reading) / rows["tokens of a prompt"], float(step)


def hours(parameters: float, layers: int, data: str) -> list[float]:
    """Return the hours of train, trace, sweep and test."""
    prompt, answer, train, test = DATA[data]
    tokens = prompt + answer
    operations = 2 * parameters  # of a token
    training = train * EPOCHS * tokens * 2 * operations / (PEAK * TRAINING)
    traced = TRACED * tokens * TRACE_PASSES * operations / (PEAK * TRAINING)
    together, reading, step = measured()
    of_parameters, of_layers = list(MODELS.values())[-1]

    def swept(documents: int, computations: float) -> float:
        batches = math.ceil(documents / together)
        share = parameters * computations / (of_parameters * distinct(of_layers))
        return batches * (prompt * reading * share + answer * step * layers / of_layers)

    steps = (training, traced, swept(CHOSEN, distinct(layers)), swept(test, TESTED))
    return [seconds / 3600 for seconds in steps]


def shown(number: float) -> str:
    """Return hours as text, in minutes if they are few."""
    return f"{number:.1f} h" if number >= 1 else f"{max(1, round(60 * number))} min"


def table() -> str:
    """Return the table."""
    lines = ["| model | data | train | trace | sweep | test |", "|---|---|---|---|---|---|"]
    for model, (parameters, layers) in MODELS.items():
        for data in DATA:
            cells = map(shown, hours(parameters, layers, data))
            lines.append(f"| {model} | {data} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(section: str) -> list[dict]:
    return json.loads((MEASURED / f"{section}.json").read_text(encoding="utf-8"))["rows"]


if __name__ == "__main__":
    print(table())
