"""The result of a sweep as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from ..errors import inert
from .formatting import called, hundredths, named, percent, shows
from .terminal_families import families_table, layer_map_tables

_NOTHING = "–"
_MOST_OTHERS = 2


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of a ``sweep.json``: answers, cuts and scores on the test split by task.

    Names and sentences are what a terminal only shows. Print them without rich's markup, which they
    may look like.
    """
    summary = _inert(summary)
    full = summary["layers"] - 1
    for task, entry in summary["tasks"].items():
        if entry["answers"]:
            yield _answers(task, entry, full)
        best = None if entry["not_chosen"] else entry["best"]
        title = f"{task}, {entry['split']} split, by {entry['metric']}"
        table = _table(title, entry["metric"], entry["boundaries"], best, chosen=True)
        table.caption = _caption(entry)
        yield table
        families = families_table(task, entry)
        if families is not None:
            yield families
        if entry["test"]:
            title = f"{task}, test split"
            others = [{"boundary": None, **row} for row in entry["test"].get("cuts", ())]
            rows = [*entry["test"]["boundaries"], *others]
            yield _table(title, entry["metric"], rows, best, chosen=False)
    yield from layer_map_tables(summary["tasks"])


def _inert(found: Any) -> Any:
    """Return a JSON value with inert texts."""
    if isinstance(found, str):
        return inert(found)
    if isinstance(found, Mapping):
        return {_inert(name): _inert(each) for name, each in found.items()}
    return list(map(_inert, found)) if isinstance(found, (list, tuple)) else found


def _answers(task: str, entry: Mapping[str, Any], full: int) -> Table:
    """Return the recommendation and the answers to the questions."""
    choice = entry["choice"]
    name = named(choice, full)
    use = f"the {name}" if choice in (-1, full) else name
    table = Table(title=f"{task}: use {use}", show_lines=True)
    table.add_column("question", overflow="fold", ratio=1)
    table.add_column("answer", overflow="fold", ratio=3)
    for answer in entry["answers"].values():
        style = "bold" if answer["shown"] else None
        table.add_row(answer["question"], answer["sentence"], style=style)
    if reason := entry["choice_reason"]:
        table.caption = f"{reason[:1].upper()}{reason[1:]}."
    return table


def _table(
    title: str,
    metric: str,
    rows: Sequence[Mapping[str, Any]],
    best: int | str | None,
    *,
    chosen: bool,
) -> Table:
    """Return a table of cuts; ``chosen``: the best one was chosen on these documents."""
    others = _others([key for key in rows[0]["metrics"] if "," in key and key != metric])
    table = Table(title=title)
    headings = (
        *("boundary", f"{metric} [95 %]", "vs. whole adapter [95 %]", "p (max-T)"),
        "gain kept [90 %]",
    )
    differ = len({row.get("documents") for row in rows}) > 1
    for heading in (*headings, *(("documents",) if differ else ()), *others):
        table.add_column(heading.replace(",none", ""), justify="right", overflow="fold")
    for row in rows:
        name = row["cut"] if row["boundary"] is None else row["boundary"]
        is_best = name == best
        # the interval of a cut that was chosen must hold for all cuts at once
        ends = "simultaneous" if is_best and chosen else "ci"
        table.add_row(
            f"{name}{' *' if is_best else ''}",
            _value(row),
            _difference(row["delta_full"], row[f"{ends}_low"], row[f"{ends}_high"]),
            _number(row["p_simultaneous"], ".2g"),
            _kept(row),
            *((str(row["documents"]),) if differ else ()),
            *(_number(row["metrics"].get(key), ".3f") for key in others),
            style="bold" if is_best else None,
        )
    return table


def _others(keys: Sequence[str]) -> list[str]:
    """Return which other metrics to show: two, and the length of responses; the report has all."""
    keys = [key for key in keys if not key.split(",")[0].endswith("_stderr")]
    lengths = [key for key in keys if key.startswith("length_ratio")]
    return [key for key in keys if key not in lengths][:_MOST_OTHERS] + lengths[:1]


def _caption(entry: Mapping[str, Any]) -> str:
    """Say what the table shows, and how far its best row can be trusted."""
    if entry["not_chosen"]:
        return f"Keep the whole adapter (boundary {entry['choice']}): {entry['not_chosen']}."
    collapse, optimism = entry["collapse"], entry["optimism"]
    best = entry["best"]
    named_best = f"The best cut is {called(best)}" if isinstance(best, str) else "* best"
    parts = [f"{named_best}; its interval holds for all cuts at once."]
    families = entry.get("families", {}).values()
    rows = [*entry["boundaries"], *(row for family in families for row in family["cuts"])]
    share = next(
        (row["selection_share"] for row in rows if best in (row["boundary"], row.get("cut"))), None
    )
    if share is not None:
        parts.append(
            "Where it is the best on a random half of the documents, it is the best on the other "
            f"half in {percent(share)} of the cases."
        )
    if collapse is not None:
        parts.append(
            f"All scored boundaries up to {collapse} are significantly worse than the whole "
            "adapter."
        )
    # where there was nothing to choose, no score is inflated
    if optimism is not None and shows(optimism["value"]):
        parts.append(
            f"About {optimism['corrected']:.3f} is to be expected on other documents: choosing the "
            f"best on these inflates its score by about {optimism['value']:.3f}."
        )
    return " ".join(parts)


def _value(row: Mapping[str, Any]) -> str:
    value, low, high = row["value"], row["value_low"], row["value_high"]
    text = _number(value, ".3f")
    return text if low is None or high is None else f"{text} [{low:.3f}, {high:.3f}]"


def _kept(row: Mapping[str, Any]) -> str:
    kept, low, high = row["gain_kept"], row["gain_kept_low"], row["gain_kept_high"]
    if kept is None:
        return _NOTHING
    text = hundredths(kept)
    return (
        text if low is None or high is None else f"{text} [{hundredths(low)}, {hundredths(high)}]"
    )


def _difference(delta: float | None, low: float | None, high: float | None) -> str:
    if delta == low == high == 0:  # the whole adapter itself
        return _NOTHING
    text = _number(delta, "+.3f")
    return text if low is None or high is None else f"{text} [{low:+.3f}, {high:+.3f}]"


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else format(value, form)
