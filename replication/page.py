"""Writes ``docs/replication.md`` and its pictures from the records, byte for byte the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lm_eval_lora_boundary.files import write_text

from .answers import what_changes
from .pictures import draw_all
from .plan import BATCH, CONTROLS, DATA, EARLIER, EPOCHS, in_words
from .questions.behaviour import answer_format, retention
from .questions.choice import luck, prediction, stability
from .questions.claim import adapter_helps, better_cut
from .questions.rivals import one_strength, other_orders
from .questions.training import regularisation, trained_below
from .study import Study
from .tables import rows_table, scores_table
from .text import Finding

QUESTIONS: Sequence[Callable[[Study], Finding]] = (
    adapter_helps,
    better_cut,
    other_orders,
    one_strength,
    luck,
    stability,
    regularisation,
    answer_format,
    trained_below,
    retention,
    prediction,
)
_CHANGES = "changes.md"
_STEPS = {
    "train": "training",
    "trace": "trace",
    "orders": "other orders",
    "choose": "scores on validation documents",
    "test": "test",
}
_WRITTEN = "<!-- written by `make replicate-docs` from docs/replication/; do not edit -->"


def write_page(study: Study, page: Path) -> None:
    """Write the page and its pictures.

    Args:
        study: The records.
        page: The Markdown file; the pictures go into the folder of the records.
    """
    pictures = draw_all(study, study.folder)
    inside = study.folder.relative_to(page.parent).as_posix()
    shown = [f"![{alt}]({inside}/{name})" for name, alt in pictures.items()]
    changes = study.folder / _CHANGES
    changed = changes.read_text("utf-8").strip() if changes.is_file() else ""
    write_text(page, content(study, shown, changed))


def content(study: Study, pictures: Sequence[str], changed: str = "") -> str:
    """Return the page.

    Args:
        study: The records.
        pictures: Markdown of the pictures.
        changed: Which rules were changed after results were known.
    """
    if not any(study.seeds.values()):
        return (
            "\n\n".join([_WRITTEN, "# Does the claim hold?", _NOTHING, _RULE, _recipe(study)])
            + "\n"
        )
    findings = [question(study) for question in QUESTIONS]
    has_tests = bool(study.having("choose", "test"))
    parts = [
        _WRITTEN,
        "# Does the claim hold?",
        _introduction(study),
        "## In short",
        "\n".join(f"- **{found.question}** {found.verdict}" for found in findings),
        *pictures,
        "## Scores on the test documents",
        scores_table(study) if has_tests else "Not run yet.",
        _SCORES if has_tests else "",
        "## What changes in the answers",
        what_changes(study),
        "## The questions",
        _RULE,
        changed,
        *(found.markdown() for found in findings),
        "## What was run",
        rows_table(study) if study.having("train") else "Nothing yet.",
        _recipe(study),
        _missing(study),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


_PAPER = (
    "The paper (Chen et al., [arXiv 2503.23360](https://arxiv.org/abs/2503.23360)) says that an "
    "adapter often answers better if the LoRA of its upper layers is dropped."
)
_NOTHING = (
    f"{_PAPER} `make replicate` tests that on four data sets and a strict output format, with the "
    "controls that the paper left out: other orders of layers, one strength for the whole adapter, "
    "more regularisation, training the lower layers only, what is forgotten, and how well the best "
    "boundary is predicted. It has not been run yet; this page is written from its results."
)
_RULE = (
    "Verdicts follow rules. Unless a section says otherwise: *Supported*: the 95 % interval of a "
    "gain is above 0. *Not supported*: a gain that would matter to a user is outside the interval; "
    "that is one point of the metric, 1 of BLEU's 100 and 0.01 of a metric between 0 and 1. *Not "
    "decidable at this scale*: neither; more documents or more seeds would be needed. *No cut to "
    "test*: on validation documents, nothing scored higher than the whole adapter. By exact match "
    "on so few documents, the interval is wider than a point even if the same answers are right, "
    "so that only a cut that does worse is *not supported*. Intervals are "
    "over documents, for these adapters; from three training seeds on, over seeds and documents "
    "([how](statistics.md)). Nothing is corrected for the number of data sets and questions."
)

_WORDS = (
    "*Boundary* K, written 0–K, is the cut that keeps LoRA in layers 0 to K and drops the rest. It "
    "is chosen on validation documents by a data set's *first metric*, and tested on others. The "
    "*gold* answer is the one that the data set gives. *Strict-match* counts numbers after GSM8K's "
    "`####` only, *flexible-extract* the last number of an answer. The *trace* and the *gradient* "
    "predict a boundary without scoring any ([how](trace.md))."
)

_SCORES = (
    "The last column shows how far validation and test documents differ; JSON's share no names or "
    "items. Log-likelihoods are in nats per document."
)


def _introduction(study: Study) -> str:
    trained = [
        seed.steps["train"]
        for found in study.seeds.values()
        for seed in found
        if seed.has("train") and "steps" in seed.steps["train"]
    ]
    small = ""
    if trained:
        rows, steps = (
            (min(values), max(values))
            for values in (
                [record["rows"]["used"] for record in trained],
                [record["steps"] for record in trained],
            )
        )
        small = (
            f" The runs are small: a base model of 135M parameters where the paper uses 2.7B to "
            f"8B, and adapters trained on {rows[0]:,} to {rows[1]:,} rows, in {steps[0]} to "
            f"{steps[1]} steps. An effect that is not found here may still exist in larger models."
        )
    return (
        f"{_PAPER} We ran this with {study.conditions()}, and with controls that the paper left "
        f"out.{small} Every result on this page is computed from the files in `docs/replication/` "
        f"by `make replicate-docs`.\n\n{_WORDS}"
    )


def _recipe(study: Study) -> str:
    data = ", ".join(f"{each.title} (`{each.task}`)" for each in DATA)
    return (
        f"Each adapter has the paper's settings: rank 8 on all linear layers, learning rate 1e-4, "
        f"{EPOCHS} epochs, {BATCH} rows per step. Where the paper gives none, they are ours: alpha "
        "16, dropout 0.05, no weight decay. A control changes one of them. Data: "
        f"{data}; always the first rows of a split. HotpotQA's rows come from a subset of the data "
        f"set. {_caveats(study)}`make replicate` runs everything, and `python -m replication plan "
        "--budget HOURS` prints how many rows a budget gives, by a rule that knows nothing of "
        "results (`replication/plan.py`). A step whose file is in `docs/replication/` is not run "
        "again with the same command; remove the folder of a data set to repeat it."
    )


def _caveats(study: Study) -> str:
    """Return what the records say against the rows that were used."""
    found = []
    trained = [seeds[0].steps["train"] for _, seeds in study.having("train")]
    if trained and (file := trained[0]["base"].get("gguf_file")):
        found.append(
            f"The quantized weights of {file} are read into {trained[0]['settings']['dtype']}, in "
            "which everything is computed. "
        )
    for data, seeds in study.having("train"):
        rows = seeds[0].steps["train"]["rows"]
        if cut := rows.get("truncated_prompts"):
            found.append(
                f"{cut} of {data.title}'s {rows['used']} training prompts were too long, and lost "
                "their beginnings. "
            )
    for data, seeds in study.having("choose"):
        if data.name == "wmt23" and seeds[0].task("choose")["clusters"] is None:
            found.append(
                f"{data.title}'s segments count as unrelated, since these files do not say which "
                "of them belong to one text. "
            )
    return "".join(found)


def _missing(study: Study) -> str:
    """Return what has not been run yet."""
    missing = []
    for data in DATA:
        seeds = study.seeds[data.name]
        steps = [*_STEPS]
        if data.controls:
            steps += [f"{name}-test" for name in EARLIER]
            steps += [f"{name}-{kind}" for name in CONTROLS for kind in ("train", "test")]
        first = seeds[0] if seeds else None
        lacking = [step for step in steps if first is None or not first.has(step)]
        if lacking:
            missing.append(f"- {data.title}: {', '.join(map(_in_words, lacking))}")
    return "Not run yet:\n\n" + "\n".join(missing) if missing else ""


def _in_words(step: str) -> str:
    """Return what a step of the plan does, as text."""
    if step in _STEPS:
        return _STEPS[step]
    name, _, kind = step.rpartition("-")
    return f"{'training' if kind == 'train' else 'test'} with {in_words(name)}"
