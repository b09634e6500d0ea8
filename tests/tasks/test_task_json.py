"""Records to be returned as JSON objects: the documents, and what counts as right."""

from __future__ import annotations

import json
import math
import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_helpers import ScriptedLM, evaluate, load_task, load_utils

NAME = "lora_boundary_json"
KEYS = ["name", "town", "item", "quantity", "day", "order", "paid"]
utils = load_utils("json")
quick = settings(database=None, deadline=None, max_examples=100)
DOC = utils.document("test", 3)
GOLD = json.loads(DOC["answer"])


def score(text, doc=DOC):
    scores = utils.process_results(doc, [text])
    return tuple(scores[name] for name in ("exact_match", "valid_json", "field_accuracy"))


@pytest.fixture(scope="module")
def splits():
    task = load_task(NAME)
    return {
        "train": task.training_docs(),
        "validation": task.validation_docs(),
        "test": task.test_docs(),
    }


def test_every_fact_is_in_the_record(splits):
    assert {name: len(docs) for name, docs in splits.items()} == {
        "train": 1200,
        "validation": 200,
        "test": 300,
    }
    for doc in (doc for docs in splits.values() for doc in docs):
        gold = json.loads(doc["answer"])
        assert list(gold) == KEYS
        words = re.findall(r"\w+", doc["record"])
        for key in KEYS[:-1]:
            assert all(part in words for part in str(gold[key]).split())
        denied = " not " in doc["record"] or " open" in doc["record"]
        assert gold["paid"] is not denied


def test_splits_share_no_fact(splits):
    facts = {
        name: [json.loads(answer) for answer in docs["answer"]] for name, docs in splits.items()
    }
    for one, other in combinations(facts.values(), 2):
        for key in ("name", "town", "item", "day", "order"):
            values = [{row[key] for row in rows} for rows in (one, other)]
            assert values[0].isdisjoint(values[1])
        names = [{part for row in rows for part in row["name"].split()} for rows in (one, other)]
        assert names[0].isdisjoint(names[1])
    for rows in facts.values():  # nor a record twice
        assert len({row["order"] for row in rows}) == len(rows)
        assert 0.4 < sum(row["paid"] for row in rows) / len(rows) < 0.6


@quick
@given(st.permutations(KEYS), st.sampled_from([None, 0, 2]))
def test_the_order_of_keys_and_whitespace_do_not_matter(keys, indent):
    text = json.dumps({key: GOLD[key] for key in keys}, indent=indent)
    assert score(f" {text}\n") == (1, 1, 1)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values |= st.sampled_from([*GOLD.values(), float(GOLD["order"]), str(GOLD["order"]), 1, 0])


@quick
@given(st.dictionaries(st.sampled_from([*KEYS, "more"]), values))
def test_any_object(changes):
    """Compared with a second implementation, in which a value is what it is written as."""
    found = {key: value for key, value in (GOLD | changes).items() if value is not None}
    written = {key: json.dumps(value) for key, value in found.items()}
    right = sum(written.get(key) == json.dumps(GOLD[key]) for key in KEYS)
    kinds = {"quantity": "-?[0-9]+", "order": "-?[0-9]+", "paid": "true|false"}
    valid = sorted(found) == sorted(KEYS) and all(
        re.fullmatch(kinds.get(key, '".*"'), text) for key, text in written.items()
    )
    expected = (float(found == GOLD and valid), float(valid), right / 7)
    got = score(json.dumps(found))
    assert got[1:] == pytest.approx(expected[1:])
    assert got[0] == float(valid and right == 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "3",
        f"[{DOC['answer']}]",
        f"Here it is: {DOC['answer']}",
        f"```json\n{DOC['answer']}\n```",
        f"{DOC['answer']} {DOC['answer']}",
        DOC["answer"][:-1],
        DOC["answer"].replace('"', "'"),
        DOC["answer"].replace("{", '{"name": "x", ', 1),  # a key twice
        "[" * 100_000,
        "9" * 10_000,
        '{"name":' * 100_000,
    ],
)
def test_what_is_no_object_scores_0(text):
    assert score(text) == (0, 0, 0)


@given(st.text())
def test_no_text_is_an_error(text):
    assert score(text) == (0, 0, 0)


def test_types_are_strict():
    for key, wrong in (("quantity", str(GOLD["quantity"])), ("paid", int(GOLD["paid"]))):
        assert score(json.dumps(GOLD | {key: wrong})) == (0, 0, pytest.approx(6 / 7))
    assert score(json.dumps(GOLD | {"order": math.nan})) == (0, 0, pytest.approx(6 / 7))
    assert score(json.dumps(GOLD | {"order": 1})) == (0, 1, pytest.approx(6 / 7))


QUESTION = (
    "\n\nReturn it as a JSON object with the keys name, town, item, quantity (a number), day, "
    "order (a number) and paid (true or false).\nJSON:"
)


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("chat", [False, True])
def test_in_lm_eval(splits, shots, chat):
    """Half of the documents answered right, with every kind of prompt."""
    model = ScriptedLM(lambda doc: doc["answer"] if "paid." in doc["record"] else "{}")
    results = evaluate(
        model,
        NAME,
        num_fewshot=shots,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        limit=40,
    )
    docs = splits["test"].select(range(40))
    share = sum("paid." in record for record in docs["record"]) / 40
    found = results["results"][NAME]
    assert 0 < share < 1
    for metric in ("exact_match", "valid_json", "field_accuracy"):
        assert found[f"{metric},none"] == pytest.approx(share)
    assert share < found["length_ratio,none"] < 1
    asked = [f"Record: {record}{QUESTION}" for record in docs["record"]]
    examples = splits["train"].select(range(shots))
    if chat:
        turns = "".join(
            f"<user>Record: {doc['record']}{QUESTION}</><assistant>{doc['answer']}</>"
            for doc in examples
        )
        assert model.prompts == [f"{turns}<user>{each}</><assistant>" for each in asked]
    else:
        before = "".join(f"Record: {d['record']}{QUESTION} {d['answer']}\n\n" for d in examples)
        assert model.prompts == [before + each for each in asked]
