"""The page ``docs/support.md``: its text, its lines, and what it says about a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

from packaging.requirements import Requirement
from support_cells import COLUMNS
from support_families import FAMILIES
from support_kinds import KINDS
from support_others import OTHERS, REFUSED
from support_quantized import QUANTIZED

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "support.md"
PINNED = ("torch", "transformers", "peft", "lm-eval")
ROWS = (*FAMILIES, *KINDS, *OTHERS, *QUANTIZED)
TEXT = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))


def line(title: str, about: str, cells: Mapping[str, str]) -> str:
    """Return a row as a line of the page; what a cell to the left says is not said again."""
    texts: list[str] = []
    for column in COLUMNS:
        text = cells[column]
        texts.append(text.partition(":")[0] if text in texts else text)
    return "| " + " | ".join([title, about, *texts]) + " |"


def lines() -> dict[str, str]:
    """Return the rows of the page by their titles."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def page(rows: Mapping[str, str]) -> str:
    """Return the whole page.

    Args:
        rows: Lines by title; those of families and kinds that are not there are left out.
    """
    families = [rows[each.title] for each in FAMILIES if each.title in rows]
    kinds = [rows[each.title] for each in KINDS if each.title in rows]
    others = [rows[each.title] for each in OTHERS if each.title in rows]
    quantized = [rows[each.title] for each in QUANTIZED if each.title in rows]
    return TEXT.substitute(
        versions=", ".join(pinned_versions()),
        families=table("family", "LoRA on", families),
        family_counts=counts(families, "families"),
        kinds=table("kind", "config", kinds),
        kind_counts=counts(kinds, "kinds"),
        others=table("kind", "config", others),
        other_counts=counts(others, "kinds"),
        quantized=table("backend", "config", quantized),
        quantized_counts=counts(quantized, "backends"),
        refused="\n".join(f"- {name}: {why}." for name, why in sorted(REFUSED.items())),
    )


def table(what: str, about: str, rows: Sequence[str]) -> str:
    header = "| " + " | ".join([what, about, *COLUMNS]) + " |"
    return "\n".join([header, "|---" * (2 + len(COLUMNS)) + "|", *rows])


def counts(rows: Sequence[str], what: str) -> str:
    """Say how many rows are exact in all columns, toggle, refuse something, or do not run."""
    found = Counter(next(word for word in _COUNTED if f"| {word}" in row) for row in rows)
    parts = (f"{found[word]} {text}" for word, text in reversed(_COUNTED.items()) if found[word])
    return f"{len(rows)} {what}: {', '.join(parts)}."


# what a row is counted as: the first of these words in it
_COUNTED = {
    "not run by PEFT": "not run by PEFT",
    "refused": "with a refusal in some column",
    "toggle": "exact, but not in a shared forward",
    "exact": "exact in every column",
}


def pinned_versions() -> Iterable[str]:
    """Yield the versions that the tests run with."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for name in PINNED:
        (pin,) = (
            each
            for each in pins
            if each.name == name and (not each.marker or each.marker.evaluate())
        )
        yield f"{name} {str(pin.specifier).removeprefix('==')}"
