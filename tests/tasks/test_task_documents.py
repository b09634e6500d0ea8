"""Segments of one WMT document belong together: the tasks say so, and a limit keeps to it."""

from __future__ import annotations

import logging
from itertools import accumulate, chain

import lm_eval
import pytest
from sacrebleu.dataset import DATASETS
from task_data import wmt_documents, wmt_file, write_xml
from task_helpers import ScriptedLM, needs_official, own_name, task_manager

from lm_eval_lora_boundary.harness.tasks import LoadedTasks
from lm_eval_lora_boundary.upstream.lm_eval import sample_size

PAIRS = sorted(DATASETS["wmt23"].langpairs)


def load(*names, split="test", **options):
    return LoadedTasks(task_manager(), list(names), split, **options)


def rows(langpair, *, split="test", **options):
    """Return the document id and source of each row that is evaluated."""
    (task,) = load(f"lora_boundary_wmt23_{langpair}", split=split, **options).tasks.values()
    docs = task.doc_iterator(limit=sample_size(task, options.get("limit")))  # as lm-eval does
    return [(doc["docid"], doc["source"]) for _, doc in docs]


def document_ends(rows):
    """Return after how many rows a document ends."""
    ids = [docid for docid, _ in rows]
    return [i + 1 for i, docid in enumerate(ids) if docid not in ids[i + 1 :]]


def test_wmt_tasks_name_the_field_and_others_do_not(made_up):
    others = [f"lora_boundary_{name}" for name in ("hotpotqa", "gsm8k", "samsum", "demo")]
    pairs = [f"lora_boundary_wmt23_{langpair}" for langpair in PAIRS]
    tasks = load(*others, "lora_boundary_wmt23_all")
    clusters = {own_name(name): field for name, field in tasks.clusters.items()}
    assert clusters == dict.fromkeys(others) | dict.fromkeys(pairs, "docid")
    # results files hold the metadata
    metadata = [task.dump_config()["metadata"] for task in list(tasks.tasks.values())[4:]]
    assert [each["cluster"] for each in metadata] == ["docid"] * len(pairs)
    assert all(task.VERSION == 1.1 for task in tasks.tasks.values())


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("langpair", ["de-en", "en-ja", "he-en"])
def test_a_limit_takes_whole_documents(made_up, langpair, split):
    everything = rows(langpair, split=split)
    ends = document_ends(everything)
    assert len(ends) > 2
    assert all(  # documents are runs of rows, so whole ones can be taken
        len({docid for docid, _ in everything[start:end]}) == 1
        for start, end in zip([0, *ends], ends, strict=False)
    )
    for limit in range(ends[0], len(everything) + 2):
        taken = rows(langpair, split=split, limit=limit)
        assert taken == everything[: max(end for end in ends if end <= limit)]
    limit = ends[0] + 1
    assert rows(langpair, split=split, cluster="none", limit=limit) == everything[:limit]


def test_sizes_of_made_up_documents(made_up):
    sizes = [len(segments) for _, segments in wmt_documents("wmt23", "de-en")]
    assert document_ends(rows("de-en")) == list(accumulate(sizes))


def test_lm_eval_answers_whole_documents(made_up):
    name = "lora_boundary_wmt23_de-en"
    everything = rows("de-en")
    end = document_ends(everything)[1]
    limit = end + 1
    tasks = load(name, limit=limit)
    results = lm_eval.simple_evaluate(
        model=ScriptedLM(lambda doc: doc["reference"]),
        tasks=tasks.names,
        task_manager=tasks,
        limit=limit,
        num_fewshot=1,
    )
    docs = [sample["doc"] for sample in results["samples"][name]]
    assert [(doc["docid"], doc["source"]) for doc in docs] == everything[:end]
    assert results["results"][name]["sample_len"] == end
    assert results["results"][name]["length_ratio_corpus,none"] == 1


def test_a_limit_does_not_read_wmt22(made_up, wmt_reads):
    assert rows("en-zh", limit=9)
    assert set(wmt_reads) == {"wmt23"}


@pytest.mark.parametrize("limit", [3, 0.1])
def test_without_names_of_documents_the_limit_takes_the_first_segments(
    made_up, tmp_path, monkeypatch, caplog, limit
):
    """A copy of the data in which all segments have the same id, which stays as it is."""
    test_set = DATASETS["wmt23"]
    segments = chain.from_iterable(part for _, part in wmt_documents("wmt23", "de-en"))
    path, translator = wmt_file(test_set, "de-en")
    raw = tmp_path / "wmt23" / "raw"
    write_xml(raw / path, "de-en", translator, [("all", list(segments))])
    for archive in (made_up / "sacrebleu" / "wmt23" / "raw").glob("*.tar.gz"):
        (raw / archive.name).write_bytes(archive.read_bytes())
    monkeypatch.setattr(test_set, "_outdir", str(tmp_path / "wmt23"))
    monkeypatch.setattr(test_set, "_rawdir", str(raw))
    everything = rows("de-en")
    assert {docid for docid, _ in everything} == {"all"}
    with caplog.at_level(logging.WARNING, "lm_eval.lora_boundary"):
        tasks = load("lora_boundary_wmt23_de-en", limit=limit)
    count = limit if limit > 1 else -(-len(everything) // 10)
    assert (
        f"docid is the same in all {len(everything)} documents, so it does not say" in caplog.text
    )
    assert tasks.clusters == {"lora_boundary_wmt23_de-en": None}
    (task,) = tasks.tasks.values()
    task.build_all_requests(limit=count, rank=0, world_size=1)
    assert [request.doc["source"] for request in task.instances] == [
        source for _, source in everything[:count]
    ]


@needs_official
@pytest.mark.parametrize("split", ["validation", "test"])
def test_whole_documents_of_official_rows(official, split):
    everything = rows("de-en", split=split)
    ends = document_ends(everything)
    taken = rows("de-en", split=split, limit=100)
    # a copy of the data may have the same id for all segments
    assert taken == everything[: max((end for end in ends if end <= 100), default=100)]
