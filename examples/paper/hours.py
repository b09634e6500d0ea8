"""Estimates how long the steps take on one H100, as the table in README.md.

    python examples/paper/hours.py

Nothing of this has been measured on a GPU yet. What is known: the number of multiplications, the
number of distinct computations of a sweep (docs/scaling.md), and what a sweep takes over the base
model alone for the same computations, measured on CPUs (docs/explanation/speed.md: 1.3 to 1.7).
"""

from __future__ import annotations

MODELS = {  # parameters, layers
    "Phi-2": (2.78e9, 32),
    "Llama-2-7B-Chat": (6.74e9, 32),
    "Llama-3.1-8B-Instruct": (8.03e9, 32),
}
DATA = {  # tokens of a prompt and of an answer; training and test documents
    "hotpotqa": (1450, 4, 81_402, 7_405),
    "gsm8k": (66, 124, 6_726, 1_319),
    "samsum": (163, 25, 14_648, 819),
    "wmt23_de-en": (80, 38, 1_592, 549),
}
PEAK = 989e12  # multiply-adds and additions per second in bfloat16, without sparsity (data sheet)
READING, WRITING, TRAINING = 0.5, 0.2, 0.35  # assumed shares of it
OVER_FLOOR = 1.5
EPOCHS, TRACED, CHOSEN = 3, 200, 500
TRACE_PASSES = 12  # two models, and forward and back at four strengths


def hours(parameters: float, layers: int, data: str) -> list[float]:
    """Return the hours of train, trace, sweep and test."""
    prompt, answer, train, test = DATA[data]
    both = prompt + answer
    operations = 2 * parameters  # of a token
    training = train * EPOCHS * both * 2 * operations / (PEAK * TRAINING)
    traced = TRACED * both * TRACE_PASSES * operations / (PEAK * READING)

    def swept(documents: int, cuts: float) -> float:
        reading = documents * prompt * operations / (PEAK * READING)
        writing = documents * answer * operations / (PEAK * WRITING)
        return cuts * (reading + writing) * OVER_FLOOR

    distinct = (layers + 3) / 2
    steps = (training, traced, swept(CHOSEN, distinct), swept(test, 4))
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


if __name__ == "__main__":
    print(table())
