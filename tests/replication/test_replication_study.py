"""Comparisons computed from records, against their definitions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from made_up_records import LAYERS, task, write_records
from sacrebleu import BLEU

from replication.comparing import (
    against_several,
    best_on_halves,
    between,
    boundaries,
    difference,
    resampled_best,
    value,
)
from replication.cuts import NONE, WHOLE, boundary, cuts_to_test, of_size, predictions, sizes
from replication.metrics import scores
from replication.plan import DATA
from replication.records import _matched
from replication.study import Study


@pytest.fixture(scope="module")
def study(records):
    return Study(records)


def seeds_of(study, name):
    return next(seeds for data, seeds in study.having("choose", "test") if data.name == name)


def test_a_difference_is_the_mean_of_paired_differences(study):
    (seed,) = seeds_of(study, "gsm8k")
    tests, metric = [seed.task("test")], seed.data.metrics[0]
    found = difference(tests, metric, ["0-3"], [WHOLE])
    cuts = tests[0]["metrics"][metric]["cuts"]
    pairs = np.array([cuts["0-3"]["documents"], cuts[WHOLE]["documents"]])
    assert found.value == pytest.approx((pairs[0] - pairs[1]).mean(), rel=1e-12)
    assert found.low < found.value < found.high


def test_bleu_from_counts_is_that_of_the_texts():
    generator = np.random.default_rng(0)
    references = [" ".join(generator.choice(list("abcdefgh"), 9)) for _ in range(20)]
    responses = [" ".join(text.split()[:7]) for text in references]
    counts = BLEU()._extract_corpus_statistics(responses, [references])
    entry = {"kind": "bleu", "cuts": {"0": {"documents": counts}}}
    found = scores({"metrics": {"bleu,none": entry}}, "bleu,none", ["0"])
    assert found.observed[0] == BLEU().corpus_score(responses, [references]).score


def test_a_perplexity_is_made_of_sums():
    pairs = [[-12.0, 4], [-3.5, 2]]
    entry = {"kind": "perplexity", "cuts": {"0": {"documents": pairs}}}
    found = scores({"metrics": {"word_perplexity,none": entry}}, "word_perplexity,none", ["0"])
    assert found.observed[0] == pytest.approx(np.exp(15.5 / 6), rel=1e-12)


def test_where_low_values_are_good_the_smaller_one_is_better():
    made = task(np.random.default_rng(0), ("exact_match,none",), [NONE, WHOLE], 30)
    ordinary = difference([made], "exact_match,none", [WHOLE], [NONE])
    made["metrics"]["exact_match,none"]["higher_is_better"] = False
    turned = difference([made], "exact_match,none", [WHOLE], [NONE])
    assert (turned.value, turned.low, turned.high) == (
        -ordinary.value,
        -ordinary.high,
        -ordinary.low,
    )


def test_two_adapters_are_compared_on_the_same_documents_only(study):
    (seed,) = seeds_of(study, "samsum")
    metric = seed.data.metrics[0]
    mine, theirs = seed.task("test"), seed.task("dropout-test")
    found = between(([mine], ["0-3"]), ([theirs], [WHOLE]), metric)
    ours = mine["metrics"][metric]["cuts"]["0-3"]["documents"]
    others = theirs["metrics"][metric]["cuts"][WHOLE]["documents"]
    assert found.value == pytest.approx(np.mean(ours) - np.mean(others), rel=1e-12)
    with pytest.raises(ValueError, match="same documents"):
        between(([{**mine, "ids": mine["ids"][::-1]}], ["0-3"]), ([theirs], [WHOLE]), metric)


@pytest.mark.parametrize("count", [2, 3])
def test_several_seeds_are_averaged(tmp_path, count):
    write_records(tmp_path, seeds=range(count), documents=30)
    seeds = seeds_of(Study(tmp_path), "json")
    tests = [seed.task("test") for seed in seeds]
    found = value(tests, "valid_json,none", [WHOLE] * count)
    single = [value([test], "valid_json,none", [WHOLE]).value for test in tests]
    assert found.value == pytest.approx(np.mean(single), rel=1e-12)
    assert found.seeds == count
    # from three seeds on, other seeds are allowed for
    other_seeds = found.high - found.low > 0.5 * np.std(single)
    assert found.low < found.value < found.high and other_seeds


def test_two_seeds_that_are_always_right_have_an_interval(study):
    (seed,) = seeds_of(study, "json")
    test = seed.task("test")
    right = {"documents": [1.0] * test["documents"]}
    entry = {"kind": "mean", "higher_is_better": True, "cuts": {"0-3": right, WHOLE: right}}
    tests = [dict(test) | {"metrics": {"m": entry}}] * 2
    found = value(tests, "m", [WHOLE] * 2)
    alone = value(tests[:1], "m", [WHOLE])
    assert (found.value, found.low, found.high) == (alone.value, alone.low, alone.high)
    assert found.low < 1 == found.high
    gain, single = (
        difference(t, "m", ["0-3"] * len(t), [WHOLE] * len(t)) for t in (tests, tests[:1])
    )
    assert (gain.low, gain.high) == (single.low, single.high)
    assert gain.low < 0 < gain.high


def test_the_best_of_resampled_documents_is_mostly_the_best_of_all():
    made = task(
        np.random.default_rng(1),
        ("loglikelihood,none",),
        [boundary(k, LAYERS) for k in range(-1, LAYERS)],
        60,
    )
    drawn = resampled_best(made, "loglikelihood,none", LAYERS, draws=200)
    assert np.mean(np.array(drawn) == 3) > 0.9  # the truth of the made-up numbers
    assert list(boundaries(made, LAYERS)) == list(range(-1, LAYERS))


def test_no_sample_moves_a_choice_to_a_boundary_that_scores_the_same():
    """As on all documents: the whole adapter, unless another boundary is better."""
    generator = np.random.default_rng(1)
    made = task(generator, ("m,none",), [boundary(k, LAYERS) for k in range(-1, LAYERS)], 60)
    cuts = made["metrics"]["m,none"]["cuts"]
    worse, right = [0.0] * 60, [1.0] * 30 + [0.0] * 30
    for cut in cuts:
        cuts[cut]["documents"] = right if cut in ("0-3", WHOLE) else worse
    assert set(resampled_best(made, "m,none", LAYERS, draws=50)) == {LAYERS - 1}
    cuts["0-3"]["documents"] = [1.0] * 31 + [0.0] * 29
    assert set(resampled_best(made, "m,none", LAYERS, draws=50)) == {3, LAYERS - 1}


def test_the_plan_names_the_metric_that_the_sweep_chose_by(study):
    (seed,) = seeds_of(study, "json")
    assert seed.best() == "0-3"
    other = dataclasses.replace(seed.data, metrics=seed.data.metrics[::-1])
    with pytest.raises(ValueError, match="chose by exact_match,none"):
        dataclasses.replace(seed, data=other).best()


def test_the_best_of_equal_cuts_is_only_better_where_it_was_chosen():
    generator = np.random.default_rng(2)
    cuts = {f"0-{k}": generator.random(100) for k in range(20)}
    entry = {
        "kind": "mean",
        "higher_is_better": True,
        "cuts": {name: {"documents": numbers.tolist()} for name, numbers in cuts.items()},
    }
    made = {"metrics": {"m": entry}, "clusters": None, "documents": 100}
    seen, unseen = best_on_halves(made, "m", "0-0")
    mean = np.mean([numbers.mean() for numbers in cuts.values()]) - cuts["0-0"].mean()
    assert seen > mean + 0.05
    assert abs(unseen - mean) < 0.06


def test_among_equal_cuts_none_is_chosen_over_the_reference():
    right = [1.0, 0.0] * 20
    names = ("0-1", "all", "4-5")
    cuts = {name: {"documents": right} for name in names}
    entry = {"kind": "mean", "higher_is_better": True, "cuts": cuts}
    made = {"metrics": {"m": entry}, "clusters": None, "documents": 40}
    assert best_on_halves(made, "m", "all") == (0.0, 0.0)
    entry["cuts"]["0-1"] = {"documents": right[::-1]}  # as good, and wrong where the other is right
    seen, unseen = best_on_halves(made, "m", "all")
    assert seen > 0 and seen == pytest.approx(-unseen, abs=0.02)


def test_several_rivals_are_allowed_for(study):
    (seed,) = seeds_of(study, "samsum")
    rivals = [["0-1+4-5"], [NONE], ["all@0.5"]]
    metrics = {seed.data.metrics[0]: None, "loglikelihood,none": seed.data.gold_task}
    for metric, name in metrics.items():
        tests = [seed.task("test", name)]
        found, at_most = against_several(tests, metric, ["0-3"], rivals)
        alone = [difference(tests, metric, ["0-3"], rival) for rival in rivals]
        assert found == alone
        assert all(high > each.high for each, high in zip(alone, at_most, strict=True))
        entry = tests[0]["metrics"][metric]
        turned = dict(tests[0]) | {"metrics": {metric: entry | {"higher_is_better": False}}}
        _, other = against_several([turned], metric, ["0-3"], rivals)
        lower = difference([turned], metric, ["0-3"], rivals[1])
        assert other[1] > lower.high and lower.value == -alone[1].value
    tests = [seed.task("test")] * 2
    found, at_most = against_several(
        tests, seed.data.metrics[0], ["0-3"] * 2, [r * 2 for r in rivals]
    )
    assert all(high > each.high for each, high in zip(found, at_most, strict=True))


def test_the_tested_cuts_are_those_that_were_named_and_others_of_their_size(study):
    data = DATA[2]
    (seed,) = study.seeds[data.name]
    chosen, orders = seed.steps["choose"], seed.steps["orders"]["orders"]
    cuts = cuts_to_test(chosen, data, orders, seed.steps["trace"])
    assert len(cuts) == len(set(cuts))
    assert {NONE, WHOLE, seed.best(), seed.smallest()} <= set(cuts)
    assert sizes(chosen, data) == [4]  # two thirds of six, and as many as the best boundary
    assert "0-1+4-5" in cuts  # of another order, four layers too
    assert of_size(orders["random:1"], 4) == "0-1+4-5"
    assert predictions(chosen, data, seed.steps["trace"])["trace"] == 3


def test_cuts_are_compared_at_the_size_of_the_best_boundary():
    data = DATA[0]

    def kept(best, better=0.1):
        values = {WHOLE: 0.5} if best is None else {WHOLE: 0.5, boundary(best, 30): 0.5 + better}
        entry = {"higher_is_better": True, "cuts": {k: {"value": v} for k, v in values.items()}}
        scored = {"metric": "m", "metrics": {"m": entry}, "decision": {"best_boundary": best}}
        return sizes({"layers": 30, "tasks": {data.task: scored}}, data)

    assert kept(16) == [17, 20]
    assert kept(24) == [25, 20]
    assert kept(19) == [20]
    assert kept(29) == kept(-1) == kept(None) == [20]
    assert kept(16, better=0) == [20]  # no better than the whole adapter


def test_boundaries_as_cuts():
    assert [boundary(k, 6) for k in (-1, 0, 3, 5)] == [NONE, "0", "0-3", WHOLE]


def test_a_record_says_in_which_responses_a_filter_found_an_answer():
    found = {"strict-match": ("[invalid]", "7"), "none": ("[invalid]", "#### 7")}
    samples = [
        {"filter": name, "filtered_resps": [text]}
        for name, texts in found.items()
        for text in texts
    ]
    assert list(_matched(samples)) == [("matched,strict-match", [0.0, 1.0])]
