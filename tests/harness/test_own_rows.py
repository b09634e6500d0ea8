"""Rows of a user's own: read from every format, checked, divided, and their metric."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.harness.own_data.lm_eval_task import rougeL
from lm_eval_lora_boundary.harness.own_data.metric import functions, suits
from lm_eval_lora_boundary.harness.own_data.rows import Row, check_row
from lm_eval_lora_boundary.harness.own_data.splits import OwnRows, read_rows, row_id

# what readers that guess types would change
ANSWERS = ["NA", "007", "1e3", "true", "2024-05-01", "null", 'a "b", c', "l'été\n2", "東京"]
ROWS = [{"prompt": f"question {i}:", "response": each} for i, each in enumerate(ANSWERS)]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": " See you "},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the name says."""
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets do
            table = csv.DictWriter(file, rows[0], delimiter="," if path.suffix == ".csv" else "\t")
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(str(path))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), "utf-8")
    else:
        path.write_text("".join(f"{json.dumps(row)}\n\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_holds_the_same_rows(suffix: str, tmp_path: Path) -> None:
    found = read_rows(str(write(tmp_path / f"tickets.{suffix}", ROWS)))
    assert [row.prompt for row in found.rows] == [row["prompt"] for row in ROWS]
    assert [row.gold for row in found.rows] == ANSWERS
    assert found.name == "tickets" and not found.are_chats and not found.have_splits


def test_the_place_of_a_row_is_its_line(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv"):
        path = write(tmp_path / name, ROWS)
        lines = path.read_text("utf-8").replace("\r\n", "\n").split("\n")
        for row in read_rows(str(path)).rows:
            number = int(re.findall(r"line (\d+)$", row.place)[0])
            here = "\n".join(lines[number - 1 : number + 3])
            assert row.prompt and row.prompt in here, (name, row.place)


def test_a_chat_is_divided_before_its_last_answer() -> None:
    row = check_row("here", {"messages": [*CHAT, {"role": "user", "content": "thanks"}]})
    assert list(row.turns) == CHAT[:-1] and row.gold == "See you" and row.prompt is None
    alone = check_row("here", {"messages": [{"role": "user", "content": "Hello"}, CHAT[2]]})
    assert alone.digest == check_row("here", {"prompt": " Hello ", "response": "x"}).digest


@pytest.mark.parametrize(
    ("prompt", "answer", "joint"),
    [
        ("A:", {"response": "x"}, " "),
        ("A:", {"response": " x"}, " "),
        ("A:\n", {"response": "x"}, ""),
        ("A:", {"response": "\nx "}, "\n"),
        ("A:", {"completion": "x"}, ""),  # as TRL trains on it
        ("A:", {"completion": " x"}, " "),
    ],
)
def test_what_stands_before_an_answer(prompt: str, answer: dict[str, str], joint: str) -> None:
    row = check_row("here", {"prompt": prompt, **answer})
    assert (row.joint, row.gold) == (joint, "x")


BAD = {
    "1": "holds a number; expected `prompt` and `response`",
    "{": "not JSON",
    '{"prompt": "p"}': "its fields are prompt; expected `prompt` and `response`",
    '{"prompt": "p", "response": "a", "completion": "b"}': "its fields are prompt, response, com",
    '{"prompt": "p", "response": ""}': "response is empty",
    '{"prompt": "p", "response": null}': "its fields are prompt, response",
    '{"prompt": "p", "response": true}': "response is true or false; expected a text",
    '{"prompt": "p", "response": 0.5}': "response is a number; expected a text",
    '{"prompt": "p", "response": "\\ud800"}': "half a character",
    '{"prompt": "p", "response": "a", "split": "holdout"}': "split is 'holdout'; expected train,",
    '{"prompt": "p", "messages": []}': "has both messages and prompt",
    '{"messages": []}': "messages is an empty list",
    '{"messages": [{"role": "user", "content": "a"}]}': "the roles of its turns are user",
    '{"messages": [{"role": "assistant", "content": "a"}]}': "the roles of its turns are assistant",
    '{"messages": [{"role": "tool", "content": "a"}]}': "turn 1: has role 'tool'",
    '{"messages": [{"role": "user", "content": ["a"]}]}': "turn 1: content is a list",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}': (
        "has messages, and the first row has prompt"
    ),
    '{"prompt": "p", "response": "a", "split": "test"}': "has a split, unlike the first row",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_row_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "response": "a"}\n\n' + line + "\n", "utf-8")
    with pytest.raises(TaskError) as refused:
        read_rows(str(path))
    assert f"{path}, line 3" in str(refused.value) and BAD[line] in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"\n", "holds no rows"),
        ("a.txt", b"x", "its name ends in .txt; expected one of .jsonl"),
        ("a.csv", b"prompt,response\n1,2\n3\n", "line 3: has 1 fields; expected 2"),
        ("a.csv", b'prompt,response\n"1,2\n', "not CSV"),
        ("a.json", b'[{"prompt": "p", "response": "a"} {}]', "does not go on after this row"),
        ("a.json", b'[{"prompt": "p", "response": "a"},\n {]', "line 2: not JSON"),
        ("a.jsonl", b'{"prompt": "p", "response": "a"}\n\xff', "line 2: not UTF-8"),
        ("a.parquet", b"PAR1", "is not a Parquet file"),
    ],
)
def test_a_bad_file_is_refused(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=re.escape(says)):
        read_rows(str(tmp_path / name))
    with pytest.raises(TaskError, match="cannot be read"):
        read_rows(str(tmp_path / "missing.jsonl"))


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    write(tmp_path / "dev.jsonl", ROWS[:3])
    write(tmp_path / "test.csv", ROWS[3:])
    (tmp_path / "README.md").write_text("not data")
    splits = read_rows(str(tmp_path)).to_evaluate()
    assert [row.gold for row in splits["validation"]] == ANSWERS[:3]
    assert [row.gold for row in splits["test"]] == ANSWERS[3:]
    with pytest.raises(TaskError, match="has no row in the split train"):
        read_rows(str(tmp_path)).to_train()


def rows_of(prompts: list[str], split: str | None = None) -> OwnRows:
    rows = [Row("here", prompt, (), "gold", split=split) for prompt in prompts]
    return OwnRows("rows.jsonl", "rows", "", tuple(rows))


def where(splits: Any) -> dict[str, str]:
    return {row.prompt: split for split, rows in splits.items() for row in rows}


texts = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, unique=True)


@given(texts, texts)
def test_a_row_stays_in_its_split_whatever_else_there_is(some: list[str], more: list[str]) -> None:
    alone, together = where(rows_of(some).to_evaluate()), where(rows_of(more + some).to_evaluate())
    assert {prompt: together[prompt] for prompt in alone} == alone
    assert set(alone.values()) <= {"validation", "test"}
    copies = where(rows_of([f" {prompt}\n" for prompt in some]).to_evaluate())
    assert {prompt.strip(): split for prompt, split in copies.items()} == {
        prompt.strip(): split for prompt, split in alone.items()
    }


def test_no_row_is_both_trained_and_evaluated_on() -> None:
    rows = rows_of([f"question {i}" for i in range(1000)])
    trained = rows.to_train()
    shares = {split: len(some) / 1000 for split, some in trained.items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.04)
    ids = {row_id(row) for row in trained["train"]}
    assert len(ids) == len(trained["train"])
    left = rows.to_evaluate(ids)
    assert left == {**trained, "train": []}  # the others stay where they were
    with pytest.raises(TaskError, match="all 1000 rows are rows that the adapter was trained on"):
        rows.to_evaluate({row_id(row) for row in rows.rows})


def test_splits_of_the_file_count() -> None:
    rows = rows_of(["a", "b", "c"], "test")
    assert where(rows.to_evaluate({row_id(rows.rows[0])})) == {"b": "test", "c": "test"}
    with pytest.raises(TaskError, match="has in the split train"):
        rows_of(["a"], "train").to_evaluate()


@pytest.mark.parametrize(
    ("golds", "metric"),
    [
        (["yes", "no"], "exact_match"),
        (["New York City, New York"] * 9 + ["a name that has more than five words"], "exact_match"),
        (["a name that has more than five words", "yes"], "rougeL"),
        (["Please see our page about refunds for this.", "no"] * 5, "exact_match"),  # labels
        (["これは長い文です。" * 8, "これも長い文です。" * 8], "rougeL"),
    ],
)
def test_the_metric_suits_the_gold_answers(golds: list[str], metric: str) -> None:
    assert suits(golds)[0] == metric
    assert [each.__name__ for each in functions(None, golds)] == [metric, "loglikelihood"]
    asked = [each.__name__ for each in functions("loglikelihood", golds)]
    assert asked == ["loglikelihood", metric]


@given(st.text("ab cAB-.\n1", max_size=20), st.text("ab cAB-.\n1", max_size=20))
def test_rouge_is_that_of_rouge_score(response: str, gold: str) -> None:
    theirs = RougeScorer(["rougeL"]).score(gold, response)["rougeL"].fmeasure
    assert rougeL(response, gold) == pytest.approx(theirs)


def test_rouge_reads_other_scripts() -> None:
    assert rougeL("東京に行く", "東京に行く") == 1
    assert rougeL("東京に来る", "東京に行く") == pytest.approx(3 / 5)
    assert rougeL("где дом", "где мой дом") == pytest.approx(0.8)


OWN = """
from dataclasses import dataclass

@dataclass
class Found:
    words: int

def shared(response, gold):
    return len(set(response.split()) & set(gold.split())) / Found(len(gold.split())).words

def fails(response, gold):
    raise KeyError("missing")

def not_a_number(response, gold):
    return "good"

def infinite(response, gold):
    return float("nan")

def one(response):
    return 1
"""


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    own, *others = functions(f"{path}:shared", ["a b"])
    assert own("b c", "a b") == 0.5 and own.__name__ == "shared"
    assert [each.__name__ for each in others] == ["exact_match", "loglikelihood"]
    for name, says in {
        "missing": "has no function missing",
        "fails": "KeyError: 'missing', for the response 'a b' and the gold answer 'a b'",
        "not_a_number": "ValueError",
        "infinite": "returned nan",
        "one": "TypeError",
        "rougeL": "cannot be its name",
        "a b": "cannot be its name",
    }.items():
        with pytest.raises(TaskError, match=re.escape(says)):
            functions(f"{path}:{name}", ["a b"])
    with pytest.raises(TaskError, match="does not exist"):
        functions(f"{tmp_path}/nothing.py:f", ["a"])
    path.write_text("def (")
    with pytest.raises(TaskError, match=r"cannot be loaded \(SyntaxError"):
        functions(f"{path}:shared", ["a"])
    with pytest.raises(TaskError, match="expected one of exact_match, rougeL, loglikelihood"):
        functions("bleu", ["a"])
