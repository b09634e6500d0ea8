"""The splits have the expected sizes and no document in common."""

from __future__ import annotations

from itertools import combinations

import pytest
from sacrebleu.dataset import DATASETS
from task_data import wmt_documents
from task_helpers import load_task, load_utils, needs_official

wmt23 = load_utils("wmt23")
WITHOUT_WMT22 = ("en-he", "he-en")
PAIRS = sorted(DATASETS["wmt23"].langpairs)


def splits(task):
    docs = {"validation": task.validation_docs(), "test": task.test_docs()}
    return {"train": task.training_docs(), **docs} if task.has_training_docs() else docs


def assert_disjoint(parts, column):
    """Check that no two splits share a text, ignoring letter case and whitespace."""
    texts = [
        {" ".join(text.casefold().split()) for text in docs[column]} for docs in parts.values()
    ]
    for one, other in combinations(texts, 2):
        assert one.isdisjoint(other)


@pytest.mark.parametrize(
    ("name", "column", "sizes"),
    [
        ("hotpotqa", "question", {"train": 36, "validation": 4, "test": 8}),
        ("gsm8k", "question", {"train": 36, "validation": 4, "test": 9}),
        # train has one more row, without a dialogue
        ("samsum", "dialogue", {"train": 40, "validation": 8, "test": 9}),
    ],
)
def test_hub_splits(made_up, name, column, sizes):
    parts = splits(load_task(f"lora_boundary_{name}"))
    assert {split: len(docs) for split, docs in parts.items()} == sizes
    assert_disjoint(parts, column)


@pytest.mark.parametrize("langpair", PAIRS)
def test_wmt23_splits(made_up, langpair):
    parts = splits(load_task(f"lora_boundary_wmt23_{langpair}"))
    for column in ("id", "docid", "source"):
        assert_disjoint(parts, column)
    documents = dict(wmt_documents("wmt23", langpair))
    if langpair in WITHOUT_WMT22:
        assert set(parts) == {"validation", "test"}
        assert len(set(parts["validation"]["docid"])) == 3  # one document in five
    else:
        assert len(set(parts["validation"]["docid"])) == 3
        assert len(set(parts["train"]["docid"])) == 12
        assert set(parts["train"]["docid"]) <= set(dict(wmt_documents("wmt22", langpair)))
        rows = [segment for segments in documents.values() for segment in segments]
        official = list(zip(parts["test"]["source"], parts["test"]["reference"], strict=True))
        # the official test set is complete and in order; sacrebleu only collapses whitespace
        assert official == [(" ".join(source.split()), reference) for source, reference in rows]


def test_every_pair_holds_out_the_same_documents(made_up):
    sides = {
        frozenset(load_task(f"lora_boundary_wmt23_{pair}").validation_docs()["docid"])
        for pair in PAIRS
        if pair not in WITHOUT_WMT22
    }
    assert len(sides) == 1


def test_zero_shot_does_not_read_wmt22(made_up, wmt_reads):
    task = load_task("lora_boundary_wmt23_en-zh")
    task.fewshot_context(task.test_docs()[0], num_fewshot=0)
    assert set(wmt_reads) == {"wmt23"}
    task.fewshot_context(task.test_docs()[0], num_fewshot=1)
    assert set(wmt_reads) == {"wmt22", "wmt23"}
    count = len(wmt_reads)
    task.fewshot_context(task.test_docs()[1], num_fewshot=1)
    assert len(wmt_reads) == count


@pytest.mark.parametrize("size", [2, 3, 9, 10, 49, 50, 51, 1000])
def test_blocks_of_segments_replace_missing_documents(size):
    rows = [{"docid": "all", "id": str(i)} for i in range(size)]
    held_out, rest = wmt23.split_documents(rows)
    ids = [int(row["id"]) for row in held_out]
    assert held_out
    assert rest
    assert sorted(held_out + rest, key=lambda row: int(row["id"])) == rows
    assert len(held_out) == pytest.approx(size / 5, abs=max(1, size / 50))
    if size == 1000:
        assert len({i // 10 for i in ids}) == len(ids) / 10 == 20  # whole blocks of ten


def test_splits_behave_like_a_mapping(made_up):
    both, one = wmt23.load("de-en", version=1.0, nested={"a": []}), wmt23.load("he-en")
    assert (list(both), list(one)) == (["train", "validation", "test"], ["validation", "test"])
    assert (len(both), len(one)) == (3, 2)
    assert "train" not in one
    assert both["test"] is both["test"]
    with pytest.raises(KeyError):
        one["train"]


@needs_official
@pytest.mark.parametrize(
    ("name", "column", "sizes"),
    [
        ("hotpotqa", "question", (463, 52, 306)),
        ("gsm8k", "question", (6726, 747, 1119)),
        # 14731 and 818 rows, without the dialogues that are in a later split
        ("samsum", "dialogue", (14648, 814, 669)),
        ("wmt23_de-en", "source", (1592, 390, 549)),
        ("wmt23_en-de", "source", (1574, 402, 557)),
        ("wmt23_en-ja", "source", (1570, 402, 2074)),
        ("wmt23_en-zh", "source", (1570, 402, 2074)),
        ("wmt23_ja-en", "source", (1578, 400, 1992)),
        ("wmt23_zh-en", "source", (1501, 371, 1976)),
    ],
)
def test_official_splits(official, name, column, sizes):
    parts = splits(load_task(f"lora_boundary_{name}"))
    assert tuple(map(len, parts.values())) == sizes
    assert_disjoint(parts, column)
    if name != "gsm8k":
        assert_disjoint(parts, "id")
