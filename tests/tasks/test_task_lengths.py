"""The two length ratios: a mean over documents, and one over the corpus."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import second_metrics as second
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.task import ConfigurableTask, Task
from sacrebleu import BLEU
from task_helpers import ScriptedLM, evaluate, load_task, load_utils, needs_official

from lm_eval_lora_boundary.harness import task_metrics
from lm_eval_lora_boundary.stats.aggregates import Aggregates
from lm_eval_lora_boundary.stats.statistic import statistic
from lm_eval_lora_boundary.upstream.lm_eval import directions

wmt23 = load_utils("wmt23")
quick = settings(database=None, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("response", "reference", "words", "characters"),
    [
        ("a b c", "x y", (3, 2), (3, 2)),
        ("", "x y", (0, 2), (0, 2)),
        ("a bc\n", "", (2, 0), (3, 0)),
        ("绝地 武士", "绝地武士的", (2, 1), (4, 5)),
    ],
)
def test_lengths(response, reference, words, characters):
    row = {"reference": reference}
    for lengths, function, scores in (
        (words, task_metrics.length_metrics, wmt23.process_results(row, [response])),
        (
            characters,
            task_metrics.length_metrics_characters,
            wmt23.process_results_characters(row, [f" {response}\n"]),
        ),
    ):
        of_response, of_reference = lengths
        expected = {
            # an empty reference has length one
            "length_ratio": of_response / (of_reference or 1),
            "length_ratio_corpus": lengths,
        }
        assert function(response, reference) == expected
        item = (reference, response.strip())
        assert scores == {"bleu": item, "chrf": item, **expected}


lengths = st.tuples(st.integers(0, 50), st.integers(0, 50))


@quick
@given(st.lists(lengths, min_size=1, max_size=30))
def test_corpus_ratio_is_a_mean_with_the_lengths_of_the_references_as_weights(items):
    got = task_metrics.length_ratio_corpus(items)
    weights = [reference for _, reference in items]
    if not sum(weights):
        assert got == sum(response for response, _ in items)
        return
    assert got == pytest.approx(task_metrics.length_ratio_corpus(3 * items[::-1]))
    if all(weights):
        ratios = [response / reference for response, reference in items]
        assert got == pytest.approx(np.average(ratios, weights=weights))


def corpus_ratio(items, function):
    lengths = [function(response, reference) for reference, response in items]
    return task_metrics.length_ratio_corpus([each["length_ratio_corpus"] for each in lengths])


def sacrebleu_ratio(items, tokenizer):
    references, responses = zip(*items, strict=True)
    return BLEU(tokenize=tokenizer).corpus_score(responses, [references]).ratio


def assert_equals_sacrebleu(items):
    """Check against sacrebleu with tokenizers that count as we do: words, or characters."""
    words = corpus_ratio(items, task_metrics.length_metrics)
    assert words == pytest.approx(sacrebleu_ratio(items, "none"))
    characters = corpus_ratio(items, task_metrics.length_metrics_characters)
    assert characters == pytest.approx(sacrebleu_ratio(items, "char"))


def test_corpus_ratio_equals_sacrebleu():
    items = second.corpora(second.ENGLISH)
    assert_equals_sacrebleu(items)
    # its default tokenizer makes punctuation words
    assert corpus_ratio(items, task_metrics.length_metrics) != sacrebleu_ratio(items, "13a")


@needs_official
@pytest.mark.parametrize("langpair", ["de-en", "en-de", "en-zh", "en-ja", "ja-en"])
def test_corpus_ratio_equals_sacrebleu_on_official_rows(official, langpair):
    assert_equals_sacrebleu(second.corpora(wmt23.read_test_set("wmt23", langpair)))


def test_corpus_ratio_can_be_pickled():  # data-parallel runs send it
    function = task_metrics.length_ratio_corpus
    assert pickle.loads(pickle.dumps(function)) is function


def answer(doc):
    reference = next(doc[key] for key in ("reference", "summary", "answer") if key in doc)
    return second.perturb(reference, sum(map(ord, reference)), "Some other text.")


# the metric that boundaries are chosen by
FIRST = {
    "lora_boundary_hotpotqa": "exact_match",
    "lora_boundary_gsm8k": "exact_match",
    "lora_boundary_samsum": "rouge1",
    "lora_boundary_demo": "exact_match",
    "lora_boundary_wmt23_de-en": "bleu",
    "lora_boundary_wmt23_en-ja": "bleu",
    "lora_boundary_wmt23_en-zh": "bleu",
}


@pytest.mark.parametrize("name", FIRST)
def test_length_ratios_of_each_task(made_up, name):
    results = evaluate(ScriptedLM(answer), name, limit=8, bootstrap_iters=100)
    row = results["results"][name]
    keys = [key for key in row if "," in key and "_stderr" not in key]
    assert keys[0].partition(",")[0] == FIRST[name]
    # what looks for a key that starts with length_ratio finds the mean first
    assert [key for key in keys if key.startswith("length_ratio")] == [
        "length_ratio,none",
        "length_ratio_corpus,none",
    ]
    if ConfigurableTask is not Task:  # 0.5 has a standard error, and says that higher is better
        assert row["length_ratio_corpus_stderr,none"] == "N/A"
        assert results["higher_is_better"][name]["length_ratio_corpus"] is None
    assert directions(load_task(name))["length_ratio_corpus"] is None

    samples = [each for each in results["samples"][name] if each["filter"] == "none"]
    characters = name.endswith(("ja", "zh"))
    texts = [(each["resps"][0][0], each["target"]) for each in samples]
    lengths = [
        [len("".join(text.split()) if characters else text.split()) for text in pair]
        for pair in texts
    ]
    responses, references = map(sum, zip(*lengths, strict=True))
    assert row["length_ratio_corpus,none"] == pytest.approx(responses / references)
    mean = np.mean([response / reference for response, reference in lengths])
    assert row["length_ratio,none"] == pytest.approx(mean)


def test_corpus_ratio_can_be_resampled_from_samples_files(made_up):
    """The statistics of a sweep take it as any metric with its own aggregation function."""
    name = "lora_boundary_samsum"
    results = [
        evaluate(ScriptedLM(scripted), name) for scripted in (answer, lambda doc: doc["summary"])
    ]
    samples = [json.loads(json.dumps(each["samples"][name])) for each in results]
    columns = [[sample["length_ratio_corpus"] for sample in each] for each in samples]
    assert all(isinstance(length, int) for column in columns for item in column for length in item)
    reported = [each["results"][name]["length_ratio_corpus,none"] for each in results]
    found = statistic(
        "length_ratio_corpus",
        columns,
        reported,
        load_task(name).aggregation()["length_ratio_corpus"],
    )
    assert isinstance(found, Aggregates)
    assert found.observed == pytest.approx(reported)
    counts = np.random.default_rng(0).multinomial(9, [1 / 9] * 9, size=20)
    sums = np.einsum("dn,cnl->dcl", counts, np.array(columns))
    assert found.resample(counts) == pytest.approx(sums[..., 0] / sums[..., 1])
