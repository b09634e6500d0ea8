"""Writes what was found into the README: two sentences and one picture."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from lm_eval_lora_boundary.files import write_text

from .cuts import WHOLE
from .pictures import SCORES
from .plan import DATA
from .questions.claim import (
    Compared,
    adapter_helps,
    at_two_thirds,
    compare_best,
)
from .questions.rivals import other_orders
from .study import Study
from .text import EQUAL, NO_CUT, NOT_SUPPORTED, OPEN, SUPPORTED, listed

_START = "<!-- written by `make replicate-docs`; do not edit -->"
_END = "<!-- end of what was written -->"


def write_readme(study: Study, page: Path, readme: Path) -> None:
    """Write two sentences and a picture between the marks in the README.

    Args:
        study: The records, in a folder beside the page.
        page: The page with all findings.
        readme: The README, in a folder above both.

    Raises:
        ValueError: The README lacks the marks.
    """
    text = readme.read_text("utf-8")
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{readme.name}: expected the lines {_START} and {_END}")
    above = readme.parent
    link = page.relative_to(above).as_posix()
    found = summary(study, link, study.folder.relative_to(above).as_posix())
    write_text(readme, f"{before}{start}\n{found}\n{end}{after}")


def summary(study: Study, page: str, folder: str) -> str:
    """Return two sentences and a picture.

    Args:
        study: The records.
        page: Link to the page with all findings.
        folder: Link to the folder with the pictures.
    """
    compared = compare_best(study)
    if not compared:
        return f"We have not tested it yet; `make replicate` does ([how]({page}))."
    orders = other_orders(study).where(SUPPORTED)
    beaten = [found for found in compared if found.outcome == SUPPORTED]
    if beaten:
        helps = adapter_helps(study).where(SUPPORTED)
        claim = (
            "the boundary that was best on validation documents beats the whole adapter on the "
            f"test documents of {listed([_with_caveats(found, helps) for found in beaten])}"
        )
    else:
        claim = (
            "on no data set is the boundary that was best on validation documents shown to beat "
            "the whole adapter on test documents"
        )
    where = "; ".join(
        f"{listed(names)}: {words}" for words, names in _others(compared).items() if names
    )
    better = f"beats every other way of dropping as many on {listed(orders)} only"
    nowhere = "is nowhere shown to beat every other way of dropping as many"
    sentences = (
        f"**What we found**, with {study.conditions()}: {claim}{f' ({where})' if where else ''}. "
        "At two thirds of the layers, the paper's rule of thumb, the cut is "
        f"{at_two_thirds(study)}; dropping the upper layers {better if orders else nowhere} ([all "
        f"findings]({page}))."
    )
    return (
        f"{sentences}\n\n![Score of every boundary on the validation documents, with the whole "
        f"adapter and the base model]({folder}/{SCORES})"
    )


def _others(compared: Sequence[Compared]) -> Mapping[str, Sequence[str]]:
    """Return the data sets on which the claim is not supported, by the reason."""
    names: dict[str, list[str]] = {
        "none scored higher on validation documents": [],
        "all boundaries score the same": [],
        "it is worse": [],
        "it gains less than one point": [],
        "too few documents to tell": [],
    }
    none, equal, worse, small, few = names.values()
    for found in compared:
        if found.outcome == NOT_SUPPORTED:
            (worse if found.gain.high < 0 else small).append(found.data.title)
        elif found.outcome != SUPPORTED:
            kinds = {NO_CUT: none, EQUAL: equal, OPEN: few}
            right = _answers_right(found) if found.outcome == OPEN else ""
            kinds[found.outcome].append(f"{found.data.title}{right}")
    tested = [found.data.title for found in compared]
    return names | {"not tested yet": [data.title for data in DATA if data.title not in tested]}


def _with_caveats(found: Compared, helps: Container[str]) -> str:
    """Return the name of a data set, with what speaks against its result."""
    caveats = []
    if found.likelihood.high < 0:
        caveats.append("by log-likelihood it loses")
    if found.data.title not in helps:
        caveats.append("the adapter itself is not shown to help")
    return f"{found.data.title}{f' (but {listed(caveats)})' if caveats else ''}"


def _answers_right(found: Compared) -> str:
    """Return how many answers are right, where an answer can only be right or wrong."""
    if len(found.seeds) > 1:
        return ""
    scored = found.seeds[0].task("test")["metrics"][found.data.metrics[0]]
    ours, whole = (scored["cuts"][cut]["documents"] for cut in (found.best[0], WHOLE))
    if scored["kind"] != "mean" or not {*ours, *whole} <= {0.0, 1.0}:
        return ""
    return f" ({sum(ours):.0f} against {sum(whole):.0f} of {len(ours)} answers right)"
