"""The files that a report reads, and how it refuses damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import (
    DATE,
    made_task,
    made_test,
    response_sample,
    rewrite,
    write_samples,
    write_sweep,
)
from typer.testing import CliRunner

from lm_eval_lora_boundary.cli import report as command
from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.report.answers import answer, common_start, gold, prompt
from lm_eval_lora_boundary.report.documents import read_documents
from lm_eval_lora_boundary.report.payload import encode, payload
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.write import write_report

LAYERS = 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    task = made_task(folder, documents=6, layers=LAYERS)
    made_test(folder, "summaries", task, documents=4)
    return write_sweep(folder, {"summaries": task})


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copied"))


def samples(folder: Path, boundary: int) -> Path:
    return folder / f"boundary={boundary}" / f"samples_summaries_{DATE}.jsonl"


def cut(path: Path, lines: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


MISTAKES: dict[str, tuple[Any, str]] = {
    "no sweep.json": (lambda f: (f / "sweep.json").unlink(), "holds no sweep.json"),
    "broken JSON": (lambda f: (f / "sweep.json").write_text('{"tasks": '), "is not JSON"),
    "a list": (lambda f: (f / "sweep.json").write_text("[]"), "holds no JSON object"),
    "no tasks": (lambda f: rewrite(f / "sweep.json", lambda c: c.pop("tasks")), "'tasks'"),
    "empty tasks": (lambda f: rewrite(f / "sweep.json", lambda c: c.update(tasks={})), "no task"),
    "no best": (
        lambda f: rewrite(f / "sweep.json", lambda c: c["tasks"]["summaries"].pop("best")),
        "'best'",
    ),
    "no choice": (
        lambda f: rewrite(f / "sweep.json", lambda c: c["tasks"]["summaries"].update(choice=None)),
        "'choice'",
    ),
    "a reason without choice": (
        lambda f: rewrite(
            f / "sweep.json",
            lambda c: c["tasks"]["summaries"].update(not_chosen="why", choice=None),
        ),
        "'choice'",
    ),
    "best without row": (
        lambda f: rewrite(f / "sweep.json", lambda c: c["tasks"]["summaries"].update(best=77)),
        "77",
    ),
    "broken trace": (lambda f: (f / "trace.json").write_text("{"), "trace.json is not JSON"),
    "no samples": (lambda f: samples(f, 2).unlink(), "boundary=2 has no samples file"),
    "no folder": (lambda f: shutil.rmtree(f / "boundary=2"), "boundary=2 has no samples file"),
    "a missing document": (lambda f: cut(samples(f, 2), 5), "each document"),
    "a repeated document": (
        lambda f: samples(f, 2).write_text(samples(f, 2).read_text() * 2),
        "each document",
    ),
    "a document in place of another": (
        lambda f: samples(f, 2).write_text(
            "".join(
                samples(f, 2).read_text().splitlines(keepends=True)[i] for i in (0, 0, 2, 3, 4, 5)
            )
        ),
        "each document",
    ),
    "a broken line": (lambda f: samples(f, 2).write_text('{"doc_id": 0'), "line 1: not a sample"),
    "no text": (lambda f: samples(f, 2).write_bytes(b"\xff\xfe"), "not UTF-8 text"),
    "no number": (
        lambda f: samples(f, 2).write_text('{"doc_id": {}}\n'),
        "its doc_id is not a whole number",
    ),
    "settings in a list": (
        lambda f: rewrite(f / "sweep.json", lambda c: c.update(settings=[1])),
        "'settings' to be of type dict",
    ),
    "race in a list": (
        lambda f: rewrite(f / "sweep.json", lambda c: c.update(race=[1])),
        "'race' to be of type dict",
    ),
    "race without boundaries": (
        lambda f: rewrite(f / "sweep.json", lambda c: c.update(race={"dropped": [{}]})),
        "'boundary' to be of type int",
    ),
    "no results": (
        lambda f: (f / f"boundary=-1/results_{DATE}.json").unlink(),
        "boundary=-1 has no results file",
    ),
    "test samples missing": (lambda f: shutil.rmtree(f / "test/summaries/boundary=-1"), "samples"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_damaged_folder_is_refused_in_one_line(mistake: str, copied: Path) -> None:
    change, expected = MISTAKES[mistake]
    change(copied)
    with pytest.raises(OutputError) as caught:
        write_report(copied)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (copied / "report.html").exists()


def test_the_command_writes_the_page_and_prints_its_path(copied: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(copied)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"Report: {copied / 'report.html'}"
    assert (copied / "report.html").stat().st_size > 10_000
    assert not list(copied.rglob(".*"))


def test_the_oldest_sweeps_recommend_their_best_boundary(copied: Path) -> None:
    rewrite(copied / "sweep.json", lambda c: c["tasks"]["summaries"].pop("choice"))
    assert write_report(copied).is_file()
    (task,) = read_sweep(copied).tasks
    assert task.choice == task.best


def test_the_signature_of_the_test_split_is_shown_if_there_is_one(copied: Path) -> None:
    assert read_sweep(copied).tasks[0].test.signature is None  # type: ignore[union-attr]
    before = write_report(copied).read_text()
    signed = {"signature": "base x | tasks summaries:1:test | documents 4"}
    rewrite(copied / "sweep.json", lambda c: c["tasks"]["summaries"]["test"].update(signed))
    line = f'<p class="signature">{signed["signature"]}</p>'
    assert line not in before and line in write_report(copied).read_text()


def test_values_that_are_not_finite_numbers_are_not_available(copied: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["tasks"]["summaries"]["boundaries"][0] |= {"p_value": float("nan"), "stderr": None}
        content["tasks"]["summaries"]["boundaries"][1] |= {"value": True, "selection_share": "0.5"}

    rewrite(copied / "sweep.json", change)
    first, second, *_ = read_sweep(copied).tasks[0].rows
    assert (first.p_value, first.stderr, second.value, second.selection_share) == (None,) * 4
    assert first.value is not None


def test_the_newest_samples_of_exactly_this_task_are_used(copied: Path) -> None:
    sample = response_sample(0, "p", "g", "newer", exact_match=1.0)
    write_samples(copied, "summaries", 2, [sample], LAYERS, date="2027-01-01T00-00-00.000001")
    write_samples(
        copied,
        "summaries",
        2,
        [sample | {"resps": [["old"]]}],
        LAYERS,
        date="2020-01-01T00-00-00.1",
    )
    write_samples(copied, "summaries_2028", 2, [sample | {"resps": [["other"]]}], LAYERS, date=DATE)
    (document,) = read_documents(copied, "summaries", "exact_match,none", {2: 1.0}).documents
    assert document.answers[0].text == "newer"


def test_only_samples_of_the_filter_are_used(tmp_path: Path) -> None:
    one = response_sample(0, "p", "7", "it is 7", exact_match=0.0)
    both = [one | {"filter": "strict", "filtered_resps": ["[invalid]"]}]
    both += [one | {"filter": "flexible", "filtered_resps": ["7"], "exact_match": 1.0}]
    write_samples(tmp_path, "sums", 0, both, LAYERS)
    for name, extracted, value in (("strict", "[invalid]", 0.0), ("flexible", "7", 1.0)):
        found = read_documents(tmp_path, "sums", f"exact_match,{name}", {0: value})
        (given,) = found.documents[0].answers
        assert (given.text, given.extracted, given.value) == ("it is 7", extracted, value)
        assert found.binary
    with pytest.raises(OutputError):
        read_documents(tmp_path, "sums", "exact_match,none", {0: 0.0})


def test_the_payload_has_every_answer_of_every_boundary(finished: Path) -> None:
    found = read_sweep(finished).tasks[0]
    values = {each.boundary: each.value for each in found.rows}
    documents = read_documents(finished, "summaries", found.metric, values)
    shown = json.loads(encode(payload(found, LAYERS - 1, [("validation", documents)])))["sets"][0]
    for i, boundary in enumerate(shown["boundaries"]):
        for line in samples(finished, boundary).read_text().splitlines():
            sample = json.loads(line)
            (each,) = (d for d in shown["documents"] if d["id"] == sample["doc_id"])
            assert shown["prefix"] + each["prompt"] == sample["arguments"]["gen_args_0"]["arg_0"]
            assert each["gold"] == sample["target"]
            assert each["answers"][each["which"][i]] == [
                sample["resps"][0][0],
                sample["exact_match"],
            ]
    # equal answers are stored once
    assert sum(len(d["answers"]) for d in shown["documents"]) < 6 * (LAYERS + 1)
    assert shown["boundaries"][shown["reference"]] == LAYERS - 1


def scored(
    options: list[str], scores: list[Any], target: str, contexts: Any = "c"
) -> dict[str, Any]:
    contexts = [contexts] * len(options) if isinstance(contexts, str) else contexts
    return {
        "doc_id": 0,
        "target": target,
        "arguments": {
            f"gen_args_{i}": {"arg_0": context, "arg_1": option}
            for i, (context, option) in enumerate(zip(contexts, options, strict=True))
        },
        "resps": [[[str(score), "False"]] for score in scores],
        "acc": 1.0,
    }


def test_options_are_shown_by_their_text() -> None:
    sample = scored([f" o{i}" for i in range(12)], [*[-5.0] * 10, -1.0, -3.0], "11")
    assert (prompt(sample), gold(sample), answer(sample, "acc").text) == ("c", "o11", "o10")


def test_contexts_are_the_options_if_they_differ() -> None:
    sample = scored([" fell"] * 2, [-2.0, -1.0], "0", ["The cup", "The table"])
    assert (gold(sample), answer(sample, "acc").text) == ("cup", "table")


def test_requests_without_context_are_not_options() -> None:
    sample = scored([" a", " b", " a", " b"], [-2.0, -3.0, -0.1, -0.2], "0", ["c", "c", "", ""])
    assert answer(sample, "acc").text == "a"


def test_log_likelihoods_are_shown_if_there_are_no_options() -> None:
    sample = scored([" w0"], [-6.66837], " w0")
    assert answer(sample, "acc").text == "log-likelihood −6.6684, not the greedy choice"
    rolling = {"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": "text"}}, "resps": [["-18.5"]]}
    assert answer(rolling, "word_perplexity").text == "log-likelihood −18.5000"
    assert answer(rolling | {"word_perplexity": [-18.5, 4]}, "word_perplexity").value is None


def test_values_are_comparable_only_if_the_metric_is_their_mean(tmp_path: Path) -> None:
    rows = [
        scored([" w"], [-2.0 - i], " w") | {"doc_id": i, "perplexity": -2.0 - i} for i in range(3)
    ]
    write_samples(tmp_path, "words", 0, rows, LAYERS)
    assert not read_documents(tmp_path, "words", "perplexity,none", {0: 20.0}).comparable
    assert read_documents(tmp_path, "words", "perplexity,none", {0: -3.0}).comparable
    assert not read_documents(tmp_path, "words", "perplexity,none", {0: None}).comparable


json_values = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_encoded_content_round_trips_and_cannot_close_its_element(content: Any) -> None:
    text = encode(content)
    assert json.loads(text) == content
    assert not set(text) & set("<>&\u2028\u2029")
    text.encode("utf-8")


def test_lone_surrogates_survive_encoding() -> None:
    assert json.loads(encode(["\ud83d", "😀", "</script>"])) == ["\ud83d", "😀", "</script>"]


@given(st.lists(st.text("ab"), min_size=2))
def test_the_common_start_is_the_longest_common_prefix(texts: list[str]) -> None:
    start = common_start(texts)
    assert all(text.startswith(start) for text in texts)
    longer = {text[: len(start) + 1] for text in texts}
    assert len(longer) > 1 or longer == {start}
