"""What is run: data sets, numbers of rows, training seeds and controls, by a rule.

The rule is stated before anything is run, and knows nothing of results. A seed gets the hours of
the budget, ten at most; what is beyond ten hours goes to further seeds. The hours are divided
among data sets and steps by fixed shares, and a row costs what its tokens cost at speeds measured
once on two cores. ``full`` takes all rows and three seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

FULL = "full"
HOURS_PER_SEED = 10.0
MOST_SEEDS = 3
BATCH = 16
EPOCHS = 3

# Tokens per second of the 135M model in bfloat16 on two cores of an x86-64 server: training,
# reading a prompt under one cut, and writing a response under one cut.
TRAINING, READING, WRITING = 350.0, 900.0, 150.0
# Distinct computations per document: all boundaries in one shared pass; the cuts of the test, which
# share less; leaving out each layer; and the forward and backward passes of a trace.
ALL_BOUNDARIES, TESTED_CUTS, LEAVE_ONE_OUT, TRACE = 15.5, 22.0, 15.5, 12.0

# Shares of a data set's time. The rest of it is for its training controls.
TRAIN_SHARE, TRACE_SHARE, ORDERS_SHARE, CHOOSE_SHARE, TEST_SHARE = 0.25, 0.03, 0.05, 0.20, 0.47


@dataclass(frozen=True)
class Data:
    """A data set and its share of the time.

    Attributes:
        name: What to call it in paths and options.
        title: What to call it in texts.
        task: The lm-eval task.
        metrics: Keys of the results to show; first, the one that a sweep chooses by.
        scale: The smallest difference in the first metric that would matter to a user.
        prompt: Mean number of tokens of a prompt.
        answer: Mean number of tokens of a gold answer.
        hours: Share of ten hours, without the training controls.
        controls: Whether further adapters are trained to compare with.
    """

    name: str
    title: str
    task: str
    metrics: tuple[str, ...]
    scale: float
    prompt: int
    answer: int
    hours: float
    controls: bool = False

    @property
    def gold_task(self) -> str:
        """The task that scores the gold answer instead of generating one."""
        return f"{self.task}_gold"


DATA = (
    Data(
        "hotpotqa",
        "HotpotQA",
        "lora_boundary_hotpotqa",
        ("exact_match,none", "f1,none", "subspan_em,none"),
        *(0.01, 1450, 4, 2.6),
    ),
    Data(
        "gsm8k",
        "GSM8K",
        "lora_boundary_gsm8k",
        ("exact_match,strict-match", "exact_match,flexible-extract"),
        *(0.01, 66, 124, 1.5, True),
    ),
    Data(
        "samsum",
        "SAMSum",
        "lora_boundary_samsum",
        ("rouge1,none", "rouge2,none", "rougeL,none"),
        *(0.01, 163, 25, 1.3, True),
    ),
    Data(
        "wmt23",
        "WMT23",
        "lora_boundary_wmt23_de-en",
        ("bleu,none", "chrf,none"),
        *(1.0, 80, 38, 1.2),
    ),
    Data(
        "json",
        "JSON",
        "lora_boundary_json",
        ("exact_match,none", "valid_json,none"),
        *(0.01, 110, 45, 0.6),
    ),
)
RETENTION = ("lora_boundary_facts", "lora_boundary_plain_text")
LOWER_LAYERS = "lower-layers"
# further adapters, each with one thing changed
CONTROLS: Mapping[str, tuple[str, ...]] = {
    "dropout": ("--dropout", "0.2"),
    "weight-decay": ("--weight-decay", "0.1"),
    LOWER_LAYERS: (),  # --boundary, once it is known
}
# the adapter after fewer epochs, which training keeps
EARLIER = tuple(f"epoch={epoch}" for epoch in range(1, EPOCHS))


def in_words(name: str) -> str:
    """Return what one of ``CONTROLS`` or ``EARLIER`` is, as text."""
    if name == LOWER_LAYERS:
        return "LoRA in the lower layers only"
    return name.replace("=", " ").replace("-", " ")


@dataclass(frozen=True)
class Rows:
    """How many rows of a data set are used; None for all.

    Attributes:
        train: For training.
        trace: Of the validation split, for the trace.
        orders: Of the validation split, to find the orders of layers.
        choose: Of the validation split, to score every boundary.
        test: Of the test split.
    """

    train: int | None = None
    trace: int | None = None
    orders: int | None = None
    choose: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        budget: Hours on two cores, or ``full``.
        seeds: The training seeds.
        rows: The rows of each data set.
    """

    budget: float | str
    seeds: tuple[int, ...]
    rows: Mapping[str, Rows] = field(default_factory=dict)


def make_plan(budget: float | str) -> Plan:
    """Return the plan for a budget.

    Args:
        budget: Hours on two cores, or ``full``.

    Raises:
        ValueError: The budget is not above 0.
    """
    if budget == FULL:
        return Plan(FULL, tuple(range(MOST_SEEDS)), {data.name: Rows() for data in DATA})
    hours = float(budget)
    if not (0 < hours < math.inf):
        raise ValueError(f"BUDGET={budget}: expected hours above 0, or {FULL}")
    seeds = min(MOST_SEEDS, max(1, int(hours // HOURS_PER_SEED)))
    share = min(hours, HOURS_PER_SEED) / HOURS_PER_SEED
    return Plan(hours, tuple(range(seeds)), {data.name: _rows(data, share) for data in DATA})


def _rows(data: Data, share: float) -> Rows:
    """Return how many rows fit into the share of a data set's time."""
    seconds = data.hours * 3600 * share
    both = data.prompt + data.answer
    # a prompt is read twice: to generate after it, and to score the gold answer after it
    answered = (data.prompt + both) / READING + data.answer / WRITING

    def fits(part: float, cost: float, multiple: int = 10) -> int:
        return max(multiple, int(seconds * part / cost) // multiple * multiple)

    return Rows(
        train=fits(TRAIN_SHARE, EPOCHS * both / TRAINING, BATCH),
        trace=fits(TRACE_SHARE, TRACE * both / READING),
        orders=fits(ORDERS_SHARE, LEAVE_ONE_OUT * both / READING),
        choose=fits(CHOOSE_SHARE, ALL_BOUNDARIES * answered),
        test=fits(TEST_SHARE, TESTED_CUTS * answered),
    )
