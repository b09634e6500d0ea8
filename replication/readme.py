"""Writes what was found into the README: two sentences and one picture."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from lm_eval_lora_boundary.files import write_text

from .pictures import SCORES
from .plan import DATA
from .questions.claim import Compared, adapter_helps, best_by_likelihood, compare_best
from .questions.rivals import other_orders
from .study import Study
from .text import EQUAL, NO_CUT, NOT_SUPPORTED, OPEN, SUPPORTED, listed

_START = "<!-- written by `make replicate-docs`; do not edit -->"
_END = "<!-- end of what was written -->"


def write_readme(records: Path, page: Path, readme: Path) -> None:
    """Write two sentences and a picture between the marks in the README.

    Args:
        records: Folder with the records.
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
    found = summary(Study(records), link, records.relative_to(above).as_posix())
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
            "no boundary that was best on validation documents is shown to beat the whole adapter "
            "on test documents"
        )
    where = "; ".join(
        f"{listed(names)}: {words}" for words, names in _others(compared).items() if names
    )
    better = f"beats dropping as many others on {listed(orders)} only"
    nowhere = "is nowhere shown to beat dropping as many others"
    sentences = (
        f"**What we found**, with {study.conditions()}: {claim}{f' ({where})' if where else ''}. "
        f"Dropping the upper layers {better if orders else nowhere}; by the log-likelihood of the "
        f"gold answer, {best_by_likelihood(study)} ([all findings]({page}))."
    )
    return (
        f"{sentences}\n\n![Score of every boundary on the validation documents, with the whole "
        f"adapter and the base model]({folder}/{SCORES})"
    )


def _others(compared: Sequence[Compared]) -> Mapping[str, Sequence[str]]:
    """Return the data sets on which the claim is not supported, by the reason."""
    names: dict[str, list[str]] = {
        "the whole adapter itself was best": [],
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
            kinds[found.outcome].append(found.data.title)
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
