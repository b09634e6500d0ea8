"""Whatever files, names and models say, output only shows it."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from lm_eval_lora_boundary.compare.comparison import Cell, Comparison, Table, text_cell
from lm_eval_lora_boundary.compare.terminal import parts
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, inert
from lm_eval_lora_boundary.exports.card import model_card
from lm_eval_lora_boundary.exports.tokenizer import copy_tokenizer
from lm_eval_lora_boundary.files import cut_folder, write_text
from lm_eval_lora_boundary.report.conclusions import Answer, Clusters
from lm_eval_lora_boundary.report.data import Confirmation, Family, Row, SweepFound, TaskFound
from lm_eval_lora_boundary.report.full_answer import full_answer
from lm_eval_lora_boundary.report.payload import encode

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "\x1b]0;title\x07 \x9b2J \x08\x08\x7f",
    "over\rwritten\nlines\u2028and\u2029more\x85",
    "\u202eturned\u202c \u2066\u2069",
    "half \ud800",
    "nul\x00",
    "[red]rich[/red] [link=https://evil.example]x[/link] [/] [@click=app.quit]y[/]",
    ":bomb: :warning:",
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>",
    "<a href=javascript:alert(1)>x</a> [x](javascript:alert(1)) ![i](https://evil.example/i.png)",
    "| a | b |\n|---|---|\n`code` **bold** ~~gone~~ $x$ <!-- --> &lt;",
    "---\nlicense: mit\n...\n# heading\n- list",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "{{ 7 * 7 }} {% include 'x' %} %s {0}",
    '"; touch hacked; $(touch hacked) `touch hacked` #',
    "../../../etc/passwd",
    "x" * 5000,
]
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.text() | st.sampled_from(HOSTILE))
def test_inert_text_is_one_line_that_can_be_printed(text: str) -> None:
    found = inert(text)
    assert not OBEYED.search(found)
    found.encode()
    assert inert(found) == found
    if text.isprintable() and not OBEYED.search(text):
        assert found == text.replace("\ufeff", "\\ufeff")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("error", [LoraBoundaryError, *LoraBoundaryError.__subclasses__()])
def test_an_error_is_one_short_line(error: type[LoraBoundaryError], text: str) -> None:
    message = str(error(f"the start; {text}; the end"))
    assert not OBEYED.search(message) and len(message) <= 2000
    assert message.startswith("the start; ") and message.endswith("; the end")


def test_log_messages_are_inert(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lm_eval.lora_boundary")
    with caplog.at_level(logging.INFO, logger.name):
        for text in HOSTILE:
            logger.info("%s of %d", text, 3)
    assert len(caplog.messages) == len(HOSTILE)
    assert all(each.endswith(" of 3") and not OBEYED.search(each) for each in caplog.messages)


def console() -> Console:
    return Console(file=io.StringIO(), width=20_000, markup=False, emoji=False)


def written(console: Console) -> str:
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert not OBEYED.search(text.replace("\n", ""))
    return text


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_of_a_sweep(text: str) -> None:
    metric = f"{text},none"
    rows = tuple(Row(k, value=0.5, documents=3.0, metrics={metric: 0.5, text: 1}) for k in (-1, 0))
    other = Row(None, cut=text, value=0.5, kept=1.0)
    task = TaskFound(
        name=text,
        metric=metric,
        higher_is_better=True,
        split=text,
        documents=3,
        rows=rows,
        best=text,
        choice=text,
        smallest_noninferior=None,
        collapse=None,
        same_documents=True,
        optimism=None,
        test=Confirmation(text, 3, (*rows, other)),
        trace=None,
        choice_basis="keeps the gain",
        answers=(Answer("keeps_gain", text, text, True),),
        families=(Family(text, "list", (other,)),),
        clusters=Clusters(text, 3),
    )
    found = SweepFound("", {}, "fork", (task,), {text: rows}, {"dropped": [{"cut": text}]})
    shown = console()
    for part in full_answer(found, 1):
        shown.print(part)
    words = inert(text).split()
    assert words[0] in written(shown) and words[-1] in written(shown)


def comparison(text: str) -> Comparison:
    cells = (text_cell(text, text, tooltip=text), Cell((text,), text, bold=True))
    return Comparison(
        text, (Table(text, cells, (cells, cells)),), (text,), (text,), (text,), ({"a": text},)
    )


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def tags(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_a_comparison_in_every_form(text: str, tmp_path: Path) -> None:
    found, harmless = comparison(text), comparison("harmless")
    write_text(tmp_path / "page.html", found.to_html())
    page = tags(found.to_html())
    assert page.tags == tags(harmless.to_html()).tags
    assert page.attributes == tags(harmless.to_html()).attributes

    markdown = found.to_markdown()
    assert not OBEYED.search(markdown.replace("\n", ""))
    # what GitHub makes of it has the same structure, whatever the names are
    render = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render
    assert tags(render(markdown)).tags == tags(render(harmless.to_markdown())).tags
    assert markdown.count("\n") == harmless.to_markdown().count("\n")
    # a spreadsheet computes cells that begin so
    cells = re.findall(r"(?:<span>|\| |\| \*\*|<br>)([=@])", found.to_html() + markdown)
    assert not cells

    shown = console()
    for part in parts(found):
        shown.print(part)
    assert inert(text).split()[0] in written(shown)


def facts(text: str, *, merge: bool) -> dict[str, Any]:
    return {
        "base_model": text,
        "kind": "LoRA",
        "buys": [text],
        "verified": "logits",
        "merge": merge,
        "boundary": 1,
        "cut": "0-1",
        "num_layers": 4,
        **dict.fromkeys(("kept_modules", "kept_parameters"), 1),
        **dict.fromkeys(("dropped_modules", "dropped_parameters"), 1),
        "source": text,
        "adapter_sha256": "0",
        "exported_sha256": "0",
        "dtype": "float32",
        "max_difference": 0.0,
        "versions": {"peft": "1"},
        "loading": {},
        "grown_rows": 0,
        "vllm_problems": [],
        "vllm_max_lora_rank": 8,
        "vllm_conditions": [text],
    }


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("text", HOSTILE)
def test_the_card_of_an_export(text: str, merge: bool) -> None:
    names = ("task", "metric", "signature", "split")
    choice = dict.fromkeys(names, text) | {"value": text, "p_value": 0.5}
    card = model_card(facts(text, merge=merge), choice)
    harmless = model_card(
        facts("org/name", merge=merge), dict.fromkeys(names, "x") | {"p_value": 0.5}
    )
    assert not OBEYED.search(card.replace("\n", ""))
    _, data, body = card.split("---\n", 2)
    known = yaml.safe_load(data)
    assert known.keys() == {"base_model", "library_name", "pipeline_tag", "tags"}
    assert known["base_model"] == inert(text)
    render = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render
    extra = tags(render(body)).tags - tags(render(harmless.split("---\n", 2)[2])).tags
    assert not extra & {"script", "img", "a"}
    # what a reader copies into a shell
    for line in body.splitlines():
        if line.startswith(("lm_eval ", "vllm ")):
            assert "touch" not in [part for part in shlex.split(line) if part != inert(text)]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_embedded_in_a_script_element(text: str) -> None:
    found = encode({"a": text})
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", found)
    assert json.loads(found) == {"a": text}


@pytest.mark.parametrize("text", [*HOSTILE, "a/../../b", "/etc", "..", "\x00"])
def test_folders_of_cuts_stay_in_the_output_folder(text: str, tmp_path: Path) -> None:
    folder = cut_folder(tmp_path, text)
    assert folder.parent == tmp_path
    folder.mkdir()
    assert cut_folder(tmp_path, text) == folder


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.report.html.writing").symlink_to(victim)
    (tmp_path / "out/report.html").symlink_to(victim)
    write_text(tmp_path / "out/report.html", "page")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out/report.html").read_text() == "page"


def test_a_link_to_a_secret_is_not_published(tmp_path: Path) -> None:
    for name in ("adapter", "new", "cache/snapshots/1", "cache/blobs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("key")
    (tmp_path / "adapter/vocab.json").symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterError, match=r"vocab\.json is a link to a file outside its folder"):
        copy_tokenizer(tmp_path / "adapter", tmp_path / "new", tmp_path / "out")
    assert not list((tmp_path / "new").iterdir())
    # the hub's own cache is made of links
    (tmp_path / "cache/blobs/1").write_text("{}")
    (tmp_path / "cache/snapshots/1/vocab.json").symlink_to("../../blobs/1")
    found = copy_tokenizer(tmp_path / "cache/snapshots/1", tmp_path / "new", tmp_path / "out")
    assert found == ["vocab.json"]
