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
from .command import sweep_command
from .data import SweepFound, TaskFound
from .documents import DocumentSet
from .examples import Example
from .formatting import count, metric_name, unbroken
from .headline import headline, judged_on, scores
from .layer_tables import MAP_NOTE, layer_map_table, overlap_table
from .next_steps import next_steps
from .payload import encode, payload
from .run_facts import all_settings, other_settings_of_trace, run_facts
from .sentences import (
    READING,
    advice,
    caveats,
    control_sentences,
    family_summary,
    finding,
    what_was_scored,
)
from .size import size_facts
from .style import Plot
from .table import family_table, group_table, marks, table

_ASSETS = files(__package__) / "assets"
_MOST_CONTROLS = 3  # more sentences are folded
# joined into one style sheet and one script, in this order
_STYLES = ("page", "tables", "documents", "print")
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
        examples: Some answers, where the sweep measured nothing.
    """

    task: TaskFound
    full: int | None
    pictures: Sequence[Picture]
    sets: Sequence[tuple[str, DocumentSet]]
    examples: Sequence[Example] = ()


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
    environment.filters["unbroken"] = unbroken
    template = environment.from_string(_asset("page.html.j2"))
    script = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    css = "\n".join(_asset(f"{name}.css") for name in _STYLES)
    text = template.render(
        found=found,
        sections=[_variables(found, section, i) for i, section in enumerate(sections)],
        together=together,
        together_note=MAP_NOTE,
        overlap=overlap_table(found.tasks),
        groups={name: group_table(rows) for name, rows in found.groups.items()},
        facts=run_facts(found),
        command_line=sweep_command(found.settings, found.folder),
        trace_differs=other_settings_of_trace(found),
        settings=all_settings(found),
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
    marked = marks(task, full)
    sentences = control_sentences(task.controls)
    pictures = {each.plot.name: each for each in section.pictures}
    main, narrow = pictures.pop("metric", None), pictures.pop("metric_narrow", None)
    split, documents = judged_on(task)
    sizes = [] if task.not_chosen else size_facts(task, task.choice, full)
    return {
        "id": f"task-{position}",
        "task": task,
        "advice": advice(task, full),
        "headline": headline(task, full),
        "finding": "" if task.not_chosen else _sentence(finding(task)),
        "scores": scores(task, full),
        "scored_on": f"{metric_name(task.metric)} on {count(documents, split)}",
        "sizes": sizes,
        # the first of what it buys is its size again
        "bought": (*task.buys[1:], *found.speed.get(task.choice, ())) if sizes else (),
        "steps": next_steps(found, task, full),
        "examples": section.examples,
        "answers": task.answers,
        "reading": READING,
        "controls": sentences[:_MOST_CONTROLS],
        "more_controls": sentences[_MOST_CONTROLS:],
        "families": [
            (
                family.name,
                family_summary(task, family, full),
                family_table(task, family, marked, full),
            )
            for family in task.families
        ],
        "layer_map": layer_map_table(task),
        "caveats": list(caveats(task, full, found.race)),
        "facts": what_was_scored(task),
        "main": main,
        "narrow": narrow,
        "pictures": [(each, _note(task, name)) for name, each in pictures.items()],
        "table": table(task, task.rows, marked, full),
        "test_table": None if task.test is None else table(task, task.test.rows, marked, full),
        "payload": encode(payload(task, full, section.sets)),
    }


def _note(task: TaskFound, plot: str) -> str:
    """Return what to write below a plot."""
    if plot == "trace_and_sweep" and task.trace is not None:
        return task.trace.verdict
    return MAP_NOTE if plot == "layer_map" else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash of an inline element for the content security policy."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_uri(drawing: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"
