"""Texts that try to become code: the page shows them as text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from made_sweeps import (
    SIGNATURE,
    made_trace,
    response_sample,
    statistics,
    write_samples,
    write_sweep,
)

from lm_eval_lora_boundary.report.write import write_report

HOSTILE = [
    "</script><img src=x onerror=\"window.hacked='closed'\"><script>window.hacked=1</script>",
    "<!--<script>window.hacked='comment'",
    "{{ 7 * 7 }} {% raw %} ${7*7} `",
    "line\u2028separator\u2029paragraph",
    "\u202eright to left\u202c שלום עולם <b>bold</b>",
    "nul\x00 bell\x07 half \ud83d whole 😀",
    "' onmouseover='window.hacked=1' \" autofocus onfocus=\"window.hacked=1",
    "javascript:window.hacked=1 &lt;b&gt; &amp; ]]>",
    '<a href="javascript:window.hacked=1" ping=//evil.example>x</a><base href=//evil.example>',
    "\x1b[31mred\x1b]8;;https://evil.example\x07 <svg onload=window.hacked=1>",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    # a valid file name: no slash
    task = "<img src=x onerror=window.hacked=2>{{7*7}}"
    rows = statistics(np.eye(len(HOSTILE), 3), [-1, 0, 1], 1)
    for i, row in enumerate(rows):
        samples = [
            response_sample(
                n, text, HOSTILE[-n - 1], f"{text} {i}", **{f"m{HOSTILE[0]}": float(n == i)}
            )
            | {"filtered_resps": [HOSTILE[n - 3]]}
            for n, text in enumerate(HOSTILE)
        ]
        write_samples(folder, task, row["boundary"], samples, 2)
        row["metrics"] = {HOSTILE[0] + ",none": 0.5}
    found = {
        "metric": f"m{HOSTILE[0]},none",
        "higher_is_better": True,
        "split": "<script>window.hacked=3</script>",
        "documents": len(HOSTILE),
        "boundaries": rows,
        "best": 0,
        "choice": 0,
    }
    settings = {HOSTILE[0]: HOSTILE}
    write_sweep(folder, {task: found}, signature=HOSTILE[0], settings=settings)
    trace = made_trace(2) | {"verdict": HOSTILE[0]}
    (folder / "trace.json").write_text(json.dumps({"signature": SIGNATURE, "tasks": {task: trace}}))
    write_report(folder)
    return folder


def test_hostile_content_is_shown_as_text(hostile: Path, chromium: Browser) -> None:
    chromium.open(hostile / "report.html")
    chromium.documents(0)
    chromium.choose("Show", "all documents")
    chromium.choose("Column 1", "base model")
    chromium.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    chromium.until(
        "document.querySelectorAll('.given details .text').length === arguments[0]", len(HOSTILE)
    )
    shown = chromium.texts(".given details .text")
    assert shown == HOSTILE
    assert chromium.texts(".given > .text") == HOSTILE[::-1]
    assert chromium.foreign_code() == []
    assert chromium.texts("h2")[0] == "<img src=x onerror=window.hacked=2>{{7*7}}"
    assert HOSTILE[0] in chromium.texts(".signature")
    # the only images are the plots, and the only script is the page's own
    assert chromium.run("return [...document.images].every((i) => i.src.startsWith('data:'))")
    assert len(chromium.all("script")) == 1
    assert [u for u in chromium.requests() if not u.startswith("data:")] == [
        (hostile / "report.html").as_uri()
    ]
    assert chromium.console() == []


def test_injected_scripts_do_not_run(hostile: Path, chromium: Browser) -> None:
    chromium.open(hostile / "report.html")
    chromium.run(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 4';"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=5\">')"
    )
    chromium.until("[...document.images].at(-1).complete")
    assert chromium.run("return window.hacked") is None
    assert any("onerror" in each for each in chromium.foreign_code())  # which would tell
    assert any("Content Security Policy" in message for message in chromium.console())
