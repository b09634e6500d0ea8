"""Writes what was found into the README: two sentences and one picture."""

from __future__ import annotations

from pathlib import Path

from lm_eval_lora_boundary.files import write_text

from .cuts import WHOLE
from .pictures import SCORES
from .plan import DATA
from .questions.claim import better_cut, other_orders
from .study import Study
from .text import NOT_SUPPORTED, OPEN, SUPPORTED, listed

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
    itself = [
        data.title
        for data, seeds in study.having("choose", "test")
        if all(seed.best() == WHOLE for seed in seeds)
    ]
    if not claim.outcomes:
        return f"We have not tested it yet; `make replicate` does ([how]({page}))."
    beaten, better = claim.where(SUPPORTED), orders.where(SUPPORTED)
    details = {
        "the best is the whole adapter itself": itself,
        "it gains less than one point": [
            name for name in claim.where(NOT_SUPPORTED) if name not in itself
        ],
        "too few documents to tell": claim.where(OPEN),
        "not tested yet": [data.title for data in DATA if data.title not in dict(claim.outcomes)],
    }
    where = "; ".join(f"{listed(names)}: {words}" for words, names in details.items() if names)
    sentences = (
        f"**What we found**, with {study.conditions()}: "
        + (
            f"the boundary that is best on validation documents beats the whole adapter on the "
            f"test documents of {listed(beaten)}"
            if beaten
            else "no boundary that is best on validation documents beats the whole adapter on test "
            "documents"
        )
        + (f" ({where})" if where else "")
        + ". Dropping the upper layers "
        + ("beats" if better else "is nowhere shown to beat")
        + " dropping as many others"
        + (f" on {listed(better)} only" if better else "")
        + f" ([all findings]({page}))."
    )
    return (
        f"{sentences}\n\n![Score of every boundary on the validation documents, with the whole "
        f"adapter and the base model]({folder}/{SCORES})"
    )
