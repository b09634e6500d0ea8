"""Every metric equals a second implementation, on made-up and on official rows."""

from __future__ import annotations

import pickle
import subprocess
import sys

import datasets
import pytest
import sacrebleu
import second_metrics as second
from hypothesis import given, settings
from hypothesis import strategies as st
from task_helpers import SHARED, load_utils, needs_official

from lm_eval_lora_boundary.harness import task_metrics

hotpotqa, samsum, gsm8k, wmt23 = map(load_utils, ("hotpotqa", "samsum", "gsm8k", "wmt23"))

HOTPOTQA = ("exact_match", "f1", "subspan_em", "best_subspan_em")
WORDS = [
    "hurries",
    "hurried",
    "the",
    "a",
    "An",
    "cat",
    "Cats!",
    "sat",
    "1,000",
    "no",
    "yes",
    "'tis",
    "a–b",
    "ß",
    "_",
    "İ",
]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=20)
lines = st.lists(texts, max_size=4).map("\n".join)
quick = settings(database=None, deadline=None, max_examples=200)


def score_hotpotqa(response, answer):
    return hotpotqa.process_results({"answer": answer}, [response])


def score_samsum(response, summary):
    return samsum.process_results({"summary": summary}, [response])


def assert_hotpotqa(scores, response, answer):
    assert scores["exact_match"] == second.exact_match(response, answer)
    assert scores["f1"] == pytest.approx(second.f1(response, answer))
    assert scores["subspan_em"] == second.subspan_em(response, answer)
    assert scores["best_subspan_em"] == second.best_subspan_em(response, answer)


def assert_rouge(scores, response, summary):
    assert scores["rouge1"] == pytest.approx(second.rouge_n(response, summary, 1))
    assert scores["rouge2"] == pytest.approx(second.rouge_n(response, summary, 2))
    assert scores["rougeL"] == pytest.approx(second.rouge_l(response, summary))
    assert scores["rougeLsum"] == pytest.approx(second.rouge_lsum(response, summary))


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        (" The Eiffel Tower.", "Eiffel tower", (1, 1, 1, 1)),
        ("It is the Eiffel Tower", "Eiffel tower", (0, 2 / 3, 1, 1)),
        ("Eiffel", "Eiffel tower", (0, 2 / 3, 0, 0)),
        ("concatenate", "cat", (0, 0, 0, 1)),
        ("In November", "no", (0, 0, 0, 1)),
        ("yes", "yes", (1, 1, 1, 1)),
        ("yes it is", "yes", (0, 0, 1, 1)),  # tokens overlap, but F1 is 0
        ("yes", "yes it is", (0, 0, 0, 0)),
        ("no", "yes", (0, 0, 0, 0)),
        ("yes indeed", "no", (0, 0, 0, 0)),
        ("", "Paris", (0, 0, 0, 0)),
        ("the", "The", (1, 0, 1, 1)),
        ("Paris", "The", (0, 0, 0, 1)),  # nothing is a substring of anything
        ("tower Eiffel", "Eiffel tower", (0, 1, 0, 0)),
    ],
)
def test_hotpotqa_on_examples(response, answer, expected):
    scores = score_hotpotqa(response, answer)
    assert tuple(scores[name] for name in HOTPOTQA) == pytest.approx(expected)


@quick
@given(texts, texts)
def test_hotpotqa_agrees_with_second_implementation(response, answer):
    scores = score_hotpotqa(response, answer)
    assert_hotpotqa(scores, response, answer)
    assert scores["exact_match"] <= scores["subspan_em"] <= scores["best_subspan_em"] <= 1
    assert 0 <= scores["f1"] <= 1


@quick
@given(texts)
def test_hotpotqa_on_equal_texts(text):
    normal = hotpotqa.normalize(text)
    assert hotpotqa.normalize(normal) == normal
    scores = score_hotpotqa(text, text)
    assert scores["exact_match"] == scores["subspan_em"] == scores["best_subspan_em"] == 1
    assert scores["f1"] == float(bool(normal))


@quick
@given(lines, lines)
def test_samsum_agrees_with_second_implementation(response, summary):
    scores = score_samsum(response, summary)
    assert_rouge(scores, response, summary)
    assert 0 <= scores["rouge2"] <= 1
    for name in ("rougeL", "rougeLsum"):
        assert 0 <= scores[name] <= scores["rouge1"] + 1e-12 <= 1 + 1e-9


@quick
@given(lines, lines, st.randoms())
def test_rouge_lsum_is_rouge_l_by_line(response, summary, rnd):
    joined = [" ".join(text.split("\n")) for text in (response, summary)]
    scores = score_samsum(*joined)
    assert scores["rougeLsum"] == pytest.approx(scores["rougeL"])
    shuffled = [text.split("\n") for text in (response, summary)]
    for each in shuffled:
        rnd.shuffle(each)
    # the order of the lines does not matter, that of the words in them does
    again = score_samsum(*map("\n".join, shuffled))
    assert again["rougeLsum"] == pytest.approx(score_samsum(response, summary)["rougeLsum"])


def test_rouge_lsum_on_an_example():
    scores = score_samsum("Ann hurries him.\nBob runs late.", "Bob runs late.\nAnn hurries him.")
    assert scores["rougeLsum"] == 1
    assert scores["rougeL"] == pytest.approx(1 / 2)


def test_rouge_scorer_is_built_once():
    assert samsum._scorer() is samsum._scorer()


def test_gsm8k_scores_either_exact_match_or_length():
    row = {"answer": "2+3=<<2+3=5>>5 pears\n#### 1,005"}
    assert gsm8k.process_results(row, ["$1005."]) == {"exact_match": 1}
    assert gsm8k.process_results(row, ["1006"]) == {"exact_match": 0}
    assert gsm8k.process_results({"answer": "#### Five"}, ["five"]) == {"exact_match": 1}
    filtered = gsm8k.WholeResponseFilter().apply([["Five pears, #### 5"], [""]], [row, row])
    # what process_results is given for each document: 0.5 has these lists already
    five, nothing = [each if isinstance(each, list) else [each] for each in filtered]
    assert [five, nothing] == [["Five pears, #### 5"], [""]]
    assert gsm8k.process_results(row, five) == {
        "length_ratio": 4 / 4,
        "length_ratio_corpus": (4, 4),
    }
    assert gsm8k.process_results(row, nothing) == {
        "length_ratio": 0,
        "length_ratio_corpus": (0, 4),
    }
    copy = pickle.loads(pickle.dumps(five[0]))  # data-parallel runs send filtered responses
    assert type(copy) is task_metrics.WholeResponse


def assert_corpus_metrics(items):
    assert task_metrics.bleu(items) == pytest.approx(second.bleu_13a(items))
    assert task_metrics.chrf(items) == pytest.approx(second.chrf(items))


def test_corpus_metrics_agree_with_second_implementation():
    assert_corpus_metrics(second.corpora(second.ENGLISH))


@pytest.mark.parametrize("metric", ["bleu", "bleu_zh", "bleu_ja", "chrf"])
def test_corpus_metrics_of_equal_and_of_empty_responses(metric):
    function = getattr(task_metrics, metric)
    texts = [
        "绝地武士的破解版崩溃了。",
        "ジェダイの騎士の改造版はクラッシュした。",
        "Five red cats sat.",
    ]
    assert function([(text, text) for text in texts]) == pytest.approx(100)
    assert function([(text, "") for text in texts]) == 0
    assert 0 <= function([(text, "Five 版") for text in texts]) < 50
    assert pickle.loads(pickle.dumps(function)) is function


def test_task_metrics_import_neither_torch_nor_transformers():
    code = (
        "import sys, lm_eval_lora_boundary.harness.task_metrics;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def official_rows(name, config, split, limit):
    path = str(SHARED / "hub" / name / config / f"{split}-*.parquet")
    return datasets.load_dataset("parquet", data_files=path, split="train").select(range(limit))


@needs_official
def test_hotpotqa_on_official_rows(official):
    answers = official_rows("hotpotqa/hotpot_qa", "distractor", "validation", 300)["answer"][:]
    seen = set()
    for i, answer in enumerate(answers):
        response = second.perturb(answer, i, answers[i - 1])
        scores = score_hotpotqa(response, answer)
        assert_hotpotqa(scores, response, answer)
        seen.add(tuple(scores[name] for name in HOTPOTQA))
    assert len(seen) > 10


@needs_official
def test_the_two_subspan_metrics_on_official_rows(official):
    """The figures in the task's README."""
    rows = official_rows("hotpotqa/hotpot_qa", "distractor", "validation", 306)
    hits = [
        (
            hotpotqa.subspan_em(sentence, row["answer"]),
            hotpotqa.best_subspan_em(sentence, row["answer"]),
        )
        for row in rows
        for paragraph in row["context"]["sentences"]
        for sentence in paragraph
    ]
    assert (len(hits), *map(sum, zip(*hits, strict=True))) == (13029, 615, 809)


@needs_official
def test_samsum_on_official_rows(official):
    summaries = official_rows("knkarthick/samsum", "default", "test", 120)["summary"][:]
    for i, summary in enumerate(summaries):
        response = second.perturb(summary, i, summaries[i - 1])
        assert_rouge(score_samsum(response, summary), response, summary)
        response = response.replace(". ", ".\n")
        assert_rouge(score_samsum(response, summary), response, summary)


@needs_official
@pytest.mark.parametrize(
    ("langpair", "metric", "tokenizer"),
    [
        ("de-en", "bleu", "13a"),
        ("en-de", "bleu", "13a"),
        ("en-zh", "bleu_zh", "zh"),
        ("en-ja", "bleu_ja", "ja-mecab"),
    ],
)
def test_wmt23_on_official_rows(official, tmp_path, langpair, metric, tokenizer):
    items = second.corpora(wmt23.read_test_set("wmt23", langpair)[:60])
    references, responses = map(list, zip(*items, strict=True))
    value = getattr(task_metrics, metric)(items)
    expected = sacrebleu.corpus_bleu(responses, [references], tokenize=tokenizer).score
    assert value == pytest.approx(expected)
    assert 5 < value < 95
    if tokenizer == "13a":
        assert_corpus_metrics(items)
    # sacrebleu's command line, with the language pair in place of the tokenizer
    for name, lines in (("ref", references), ("hyp", responses)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-l", langpair, "-b"]
    run = subprocess.run(
        [*command, "-m", "bleu", "-w", "6"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) == pytest.approx(value, abs=1e-6)
