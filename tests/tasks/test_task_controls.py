"""The tasks for ``sweep --control``: facts, and plain text."""

from __future__ import annotations

import math
import re
from collections import Counter

import lm_eval
import pytest
from lm_eval.api.model import LM
from task_helpers import TASKS, load_task, task_manager

FACTS, TEXT = "lora_boundary_facts", "lora_boundary_plain_text"


class Rated(LM):
    """A model whose log-likelihood is a function of the context and the text after it."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def loglikelihood(self, requests, disable_tqdm=False):
        return [(self.rate(*request.args), False) for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        rated = [(self.rate(request.args[-1]), len(request.args)) for request in requests]
        # 0.5 asks for a whole text as for any other, after an empty context
        return [(value, False) if arguments == 2 else value for value, arguments in rated]

    def generate_until(self, requests, disable_tqdm=False):
        raise AssertionError("nothing is generated")


def evaluate(model, name, **options):
    return lm_eval.simple_evaluate(
        model=model, tasks=[name], task_manager=task_manager(), bootstrap_iters=0, **options
    )["results"][name]


@pytest.fixture(scope="module")
def facts():
    return list(load_task(FACTS).test_docs())


def test_facts_are_well_formed(facts):
    assert len(facts) == len({doc["text"] for doc in facts}) == 150
    for number, doc in enumerate(facts):
        assert len(set(doc["choices"])) == len(doc["choices"]) == 4
        assert doc["right"] == number % 4  # no place is better than chance
        for text in (doc["text"], *doc["choices"]):
            assert text == " ".join(text.split()) and text.isprintable() and text[-1] != "."
    assert len({doc["kind"] for doc in facts[:24]}) > 5  # a limit takes some of every kind
    # the README has the numbers
    counts = Counter(doc["kind"] for doc in facts)
    places = counts.pop("capital") + counts.pop("place")
    readme = (TASKS / "facts" / "README.md").read_text("utf-8")
    (line,) = re.findall(r"capitals and places \(.*?people \(\d+\)", readme, re.DOTALL)
    assert sorted(map(int, re.findall(r"\d+", line))) == sorted([places, *counts.values()])


def test_facts_in_lm_eval(facts):
    right = {(doc["text"], f" {doc['choices'][doc['right']]}") for doc in facts}
    known = Rated(lambda *pair: 0.0 if pair in right else -5.0)
    assert evaluate(known, FACTS)["acc,none"] == 1
    wrong = Rated(lambda *pair: -5.0 if pair in right else 0.0)
    assert evaluate(wrong, FACTS)["acc,none"] == 0
    # the same for every choice: no hint in the order
    indifferent = evaluate(Rated(lambda *_: -1.0), FACTS)
    assert indifferent["acc,none"] == pytest.approx(0.25, abs=0.01)
    # nor in the length, which a model likes to be short, or long per byte
    for sign in (1, -1):
        by_length = evaluate(Rated(lambda _, text, sign=sign: sign * len(text)), FACTS)
        assert 0.1 < by_length["acc,none"] < 0.4


def test_passages_are_plain_prose():
    docs = load_task(TEXT).test_docs()
    assert len(docs) == len(set(docs["text"])) == 20
    for text in docs["text"]:
        assert 140 <= len(text.split()) <= 165
        assert text.isascii() and text == " ".join(text.split())
        assert text[0].isupper() and text.endswith(".")


def test_perplexities_in_lm_eval():
    texts = load_task(TEXT).test_docs()["text"]
    found = evaluate(Rated(lambda text: -0.5 * len(text)), TEXT)
    assert found["byte_perplexity,none"] == pytest.approx(math.exp(0.5))
    assert found["bits_per_byte,none"] == pytest.approx(0.5 / math.log(2))
    words, size = sum(len(text.split()) for text in texts), sum(map(len, texts))
    assert found["word_perplexity,none"] == pytest.approx(math.exp(0.5 * size / words))


@pytest.mark.parametrize("name", [FACTS, TEXT])
def test_a_sweep_knows_which_way_is_better(name):
    task = load_task(name)
    metrics = list(task.aggregation())
    better = task.higher_is_better()
    assert metrics[0] == ("acc" if name == FACTS else "word_perplexity")
    assert all(better[metric] is (name == FACTS) for metric in metrics)
    assert task.VERSION == 1.0
