"""Writes what was found into the README: two sentences and one picture."""

from __future__ import annotations

from pathlib import Path

from lm_eval_lora_boundary.files import write_text

from .pictures import SCORES
from .questions.claim import better_cut, other_orders
from .study import Study
from .text import NOT_SUPPORTED, OPEN, SUPPORTED, Finding, listed

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
    claim, orders = better_cut(study), other_orders(study)
    if not claim.outcomes:
        return f"We have not tested it yet; `make replicate` does ([how]({page}))."
    return (
        f"**What we found**, with {study.conditions()} ([all findings]({page})): "
        f"the boundary that is best on validation documents beats the whole adapter on the test "
        f"documents of {_listed(claim, SUPPORTED)}{_rest(claim, 'it gains less than one point')}. "
        f"Dropping the upper layers beats dropping as many others, and scaling the adapter, on "
        f"{_listed(orders, SUPPORTED)}{_rest(orders, 'it does not')}.\n\n"
        f"![Score of every boundary on the validation documents, with the whole adapter and the "
        f"base model]({folder}/{SCORES})"
    )


def _listed(found: Finding, verdict: str) -> str:
    return listed(found.where(verdict)) or "no data set"


def _rest(found: Finding, otherwise: str) -> str:
    """Return what holds for the data sets that do not support it."""
    parts = {NOT_SUPPORTED: f"{otherwise} on", OPEN: "too few documents were scored to tell on"}
    named = {words: found.where(verdict) for verdict, words in parts.items()}
    return "".join(f"; {words} {listed(names)}" for words, names in named.items() if names)
