"""``report.html``: a single self-contained file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from . import style
from .data import BASE, CutName, SweepFound, TaskFound
from .documents import DocumentSet
from .formatting import count, metric_name
from .layer_tables import MAP_NOTE, layer_map_table, overlap_table
from .payload import encode, payload
from .sentences import READING, advice, caveats, control_sentences, family_summary, finding
from .style import Plot
from .table import family_table, group_table, table

_ASSETS = files(__package__) / "assets"
_MOST_CONTROLS = 3  # more sentences are folded
# joined into one script, in this order
_SCRIPTS = ("elements", "difference", "tables", "documents", "start")


@dataclass(frozen=True)
class Picture:
    """A plot in both colour schemes, as data URIs."""

    plot: Plot
    light: str
    dark: str


@dataclass(frozen=True)
class Section:
    """The part of the page about one task.

    Attributes:
        task: The task.
        full: The boundary that keeps the whole adapter; None if unknown.
        pictures: The plots.
        sets: Name and documents of each split.
    """

    task: TaskFound
    full: int | None
    pictures: Sequence[Picture]
    sets: Sequence[tuple[str, DocumentSet]]


def picture(plot: Plot, drawing: str) -> Picture:
    """Embed a plot, given with its SVG in the light colour scheme."""
    return Picture(plot, _data_uri(drawing), _data_uri(style.dark(drawing)))


def render(found: SweepFound, sections: Sequence[Section], together: Sequence[Picture] = ()) -> str:
    """Return the HTML of the page.

    Args:
        found: The sweep.
        sections: The sections, one per task.
        together: Plots that compare tasks.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    template = environment.from_string(_asset("page.html.j2"))
    script = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    css = _asset("report.css")
    text = template.render(
        found=found,
        sections=[_variables(found, section, i) for i, section in enumerate(sections)],
        together=together,
        together_note=MAP_NOTE,
        overlap=overlap_table(found.tasks),
        groups={name: group_table(rows) for name, rows in found.groups.items()},
        settings=_settings(found),
        script=script,
        css=css,
        script_hash=_hash(script),
        css_hash=_hash(css),
        version=version("lm-eval-lora-boundary"),
    )
    # names may contain lone surrogates, which UTF-8 cannot encode
    return text.encode("utf-8", "replace").decode("utf-8")


def _variables(found: SweepFound, section: Section, position: int) -> dict[str, Any]:
    """Return the template variables of a section."""
    task, full = section.task, section.full
    marks = _marks(task, full)
    sentences = control_sentences(task.controls)
    return {
        "id": f"task-{position}",
        "task": task,
        "advice": advice(task, full),
        "finding": finding(task),
        "answers": task.answers,
        "reading": READING,
        "controls": sentences[:_MOST_CONTROLS],
        "more_controls": sentences[_MOST_CONTROLS:],
        "families": [
            (family.name, family_summary(task, family, full), family_table(task, family, marks))
            for family in task.families
        ],
        "layer_map": layer_map_table(task),
        "caveats": list(caveats(task, full, found.race)),
        "facts": _facts(task),
        "pictures": [(each, _note(task, each.plot.name)) for each in section.pictures],
        "table": table(task, task.rows, marks),
        "test_table": table(task, task.test.rows, marks) if task.test is not None else None,
        "payload": encode(payload(task, full, section.sets)),
    }


def _note(task: TaskFound, plot: str) -> str:
    """Return what to write below a plot."""
    if plot == "trace_and_sweep" and task.trace is not None:
        return task.trace.verdict
    return MAP_NOTE if plot == "layer_map" else ""


def _facts(task: TaskFound) -> str:
    """Return a summary of what was scored."""
    direction = "higher" if task.higher_is_better else "lower"
    others = len(task.all_rows) - len(task.rows)
    more = f" and {others} other {'cut' if others == 1 else 'cuts'}" if others else ""
    return (
        f"{len(task.rows)} {'boundary' if len(task.rows) == 1 else 'boundaries'}{more} on "
        f"{count(task.documents, task.split)}, chosen by {metric_name(task.metric)} "
        f"({direction} is better)"
    )


def _marks(task: TaskFound, full: int | None) -> dict[CutName, str]:
    """Return what to write next to cuts."""
    marks: dict[CutName, list[str]] = {}
    for name, mark in (
        (BASE, "base"),
        (full, "whole"),
        (task.best if task.not_chosen is None else None, "best"),
        (task.smallest_noninferior, "smallest"),
    ):
        if name is not None and not (mark == "smallest" and name == task.best):
            marks.setdefault(name, []).append(mark)
    return {name: ", ".join(parts) for name, parts in marks.items()}


def _settings(found: SweepFound) -> dict[str, str]:
    """Return the settings that have a value, as text."""
    return {
        key.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in found.settings.items()
        if value is not None and value not in ({}, [], "")
    }


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash of an inline element for the content security policy."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_uri(drawing: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"
