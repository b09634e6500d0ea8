"""A limit takes whole clusters of documents, and everything downstream sees the same documents."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from tiny_tasks import COMMON, made_row, write_rows

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.harness.clusters import (
    cluster_field,
    documents,
    keep_whole_clusters,
)
from lm_eval_lora_boundary.harness.tasks import LoadedTasks, task_manager
from lm_eval_lora_boundary.upstream.lm_eval import sample_size

STORIES = {"train": "aabbbccc", "validation": "aabbbbc", "test": "aaabbcdd"}
TASK = (
    "task: tiny_{name}\n"
    + COMMON.replace("first_n", "default")  # examples are drawn document by document
    + """
num_fewshot: 2
output_type: generate_until
doc_to_text: "{{{{question}}}}"
generation_kwargs: {{max_gen_toks: 2}}
metric_list: [{{metric: exact_match}}]
{more}
"""
)


class InPython(Task):
    """A task in Python: its documents are a list, and there is no split for tests."""

    VERSION = 0
    OUTPUT_TYPE = "generate_until"

    def __init__(self, docs: list[Any]) -> None:
        self._config = SimpleNamespace(
            task="in_python", repeats=1, num_fewshot=0, test_split=None, validation_split=None
        )
        self._docs = docs

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return True

    def has_test_docs(self) -> bool:
        return False

    def validation_docs(self) -> list[Any]:
        return self._docs

    def doc_to_text(self, doc: Any) -> str:
        return str(doc)

    def doc_to_target(self, doc: Any) -> str:
        return ""

    def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> Instance:
        raise NotImplementedError

    def process_results(self, doc: Any, results: Any) -> dict[str, float]:
        return {}

    def aggregation(self) -> dict[str, Any]:
        return {}

    def higher_is_better(self) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    for split, stories in STORIES.items():
        rows = [{**made_row(split, i), "story": s, "one": "x"} for i, s in enumerate(stories)]
        write_rows(folder / f"{split}.jsonl", rows)
    for name, more in {
        "stories": "metadata: {version: 1.0, cluster: story}",
        "plain": "",
        "wrong": "metadata: {cluster: docid}",
        "placeholder": "metadata: {version: 1.0, cluster: one}",
    }.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, folder=folder, more=more))
    return folder


@pytest.fixture(scope="module")
def manager(folder: Path) -> Any:
    return task_manager(str(folder))


def load(manager: Any, name: str, split: str = "test", **options: Any) -> LoadedTasks:
    return LoadedTasks(manager, [f"tiny_{name}"], split, **options)


def evaluate(tasks: LoadedTasks, **options: Any) -> Any:
    """Evaluate as a sweep does."""
    results = lm_eval.simple_evaluate(
        model="dummy", tasks=tasks.names, task_manager=tasks, bootstrap_iters=0, **options
    )
    assert results is not None
    return results


def answered(tasks: LoadedTasks, **options: Any) -> list[tuple[str, str]]:
    """Return the story and the prompt of each document in lm-eval's samples."""
    (name,) = tasks.names
    samples = evaluate(tasks, **options)["samples"][name]
    return [(each["doc"]["story"], each["arguments"][0][0]) for each in samples]


def stub(values: list[Any], *, as_dataset: bool = False) -> Any:
    rows = [{"id": i, "story": value} for i, value in enumerate(values)]
    docs = Dataset.from_list(rows) if as_dataset else rows
    return SimpleNamespace(task_name="stub", eval_docs=docs, config=None)


@settings(database=None, deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_the_limit_is_the_longest_beginning_without_a_part_of_a_cluster(
    values: list[int], data: st.DataObject
) -> None:
    limit = data.draw(st.integers(1, 14) | st.floats(0.01, 0.99))
    most = math.ceil(len(values) * limit) if limit < 1 else int(limit)
    whole = [
        n
        for n in range(1, min(most, len(values)) + 1)
        if not set(values[:n]) & set(values[n:])  # no cluster is on both sides
    ]
    assert documents(stub(values), limit, "story") == (max(whole) if whole else most)
    assert documents(stub(values), limit, None) == most
    assert documents(stub(values), None, "story") is None


@settings(database=None, deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=60).map(sorted), st.floats(0.001, 0.999))
def test_a_share_of_what_is_left_is_what_the_share_took(values: list[int], share: float) -> None:
    task = InPython([{"story": value} for value in values])
    count = documents(task, share, "story")
    keep_whole_clusters(task, share, "story")
    assert sample_size(task, share) == count
    assert task.eval_docs == task._docs[: len(task.eval_docs)]


def test_values_of_any_kind_are_compared_by_what_they_hold() -> None:
    for values in ([[1], [1], [2]], [{"a": 1}, {"a": 1}, {"a": 2}], ["x", "x", None], [1, 1, 2]):
        for as_dataset in (False, True):
            assert documents(stub(values, as_dataset=as_dataset), 2, "story") == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("lm_eval.lora_boundary"), "disabled", True)
        assert documents(stub([1, 1, 2]), 1, "story") == 1


def test_the_field_is_the_tasks_own_or_the_requested_one(manager: Any) -> None:
    assert load(manager, "stories").clusters == {"tiny_stories": "story"}
    assert load(manager, "stories", cluster="none").clusters == {"tiny_stories": None}
    assert load(manager, "plain").clusters == {"tiny_plain": None}
    plain = load(manager, "plain", "validation", cluster="story")
    assert plain.clusters == {"tiny_plain": "story"}
    assert plain.on_test_split("tiny_plain").clusters == plain.clusters


def test_a_field_that_the_documents_lack_is_refused_in_one_line(manager: Any) -> None:
    known = "question, answer, gold, story, one, none"
    with pytest.raises(TaskError) as refused:
        load(manager, "plain", cluster="docid")
    assert str(refused.value) == (
        f"cluster=docid is not a field of the documents of tiny_plain; expected one of {known}"
    )
    with pytest.raises(TaskError) as refused:
        load(manager, "wrong")
    assert str(refused.value) == (
        "task tiny_wrong: its metadata says cluster: docid, which is not a field of its documents; "
        f"expected one of {known}. Correct its YAML, or give cluster=none"
    )
    assert load(manager, "wrong", cluster="none").clusters == {"tiny_wrong": None}
    for docs in (["text"], [], [("a", 1)]):
        with pytest.raises(TaskError, match=r"; expected none$"):
            cluster_field(InPython(docs), "story")
        assert cluster_field(InPython(docs)) is None


@pytest.mark.parametrize(
    ("split", "limit", "count"),
    [
        ("test", 5, 5),
        ("test", 4, 3),
        ("test", 7, 6),
        ("test", 8, 8),
        ("test", 50, 8),
        ("test", 0.6, 5),
        ("test", 0.5, 3),
        ("test", 0.85, 6),
        ("validation", 5, 2),
        ("validation", 0.9, 7),
        ("validation", 0.8, 6),
    ],
)
def test_lm_eval_and_the_race_see_the_same_documents(
    manager: Any, split: str, limit: float, count: int
) -> None:
    whole = answered(load(manager, "stories", split))
    tasks = load(manager, "stories", split, limit=limit)
    (task,) = tasks.tasks.values()
    for _ in range(2):  # as for two cuts
        assert answered(tasks, limit=limit) == whole[:count]  # few-shot examples too
    results = evaluate(tasks, limit=limit)
    assert results["n-samples"]["tiny_stories"]["effective"] == count
    # a race asks for documents by number, of as many as there are
    most = sample_size(task, limit)
    assert most is not None
    assert min(most, len(task.eval_docs)) == count
    some = [0, count - 1]
    assert answered(tasks, samples={"tiny_stories": some}) == [whole[i] for i in some]


def test_the_test_split_is_limited_like_the_first(manager: Any) -> None:
    tasks = load(manager, "stories", "validation", limit=4)
    assert [story for story, _ in answered(tasks, limit=4)] == list("aa")
    confirmed = tasks.on_test_split("tiny_stories")
    assert [story for story, _ in answered(confirmed, limit=4)] == list("aaa")
    everything = load(manager, "stories", "validation", limit=4, cluster="none")
    assert [story for story, _ in answered(everything, limit=4)] == list("aabb")
    confirmed = everything.on_test_split("tiny_stories")
    assert [story for story, _ in answered(confirmed, limit=4)] == list("aaab")


def test_a_limit_within_the_first_cluster_warns(
    manager: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        tasks = load(manager, "stories", limit=2)
    (record,) = (each for each in caplog.records if each.name == "lm_eval.lora_boundary")
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "task tiny_stories: its first 2 documents are a part of those that belong together by "
        "story; the first 3 would be whole"
    )
    assert [story for story, _ in answered(tasks, limit=2)] == list("aa")


def test_a_field_that_is_the_same_in_all_documents_groups_none(
    manager: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lm_eval.lora_boundary"):
        tasks = load(manager, "placeholder", limit=5)
    (record,) = (each for each in caplog.records if each.name == "lm_eval.lora_boundary")
    assert record.getMessage() == (
        "task tiny_placeholder: one is the same in all 8 documents, so it does not say which of "
        "them belong together, and they count as unrelated"
    )
    assert tasks.clusters == {"tiny_placeholder": None}
    assert len(answered(tasks, limit=5)) == 5
    assert cluster_field(InPython([{"story": "a"}]), "story") == "story"  # of one document, all do


@pytest.mark.parametrize("name", ["plain", "placeholder"])
def test_such_a_field_is_refused_if_it_is_asked_for(manager: Any, name: str) -> None:
    with pytest.raises(TaskError) as refused:
        load(manager, name, cluster="one")
    assert str(refused.value) == (
        f"cluster=one is the same in all 8 documents of tiny_{name}; expected a field that differs "
        "between them, or none"
    )


def test_a_shortened_limit_is_logged(manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        load(manager, "stories", limit=4)
    assert (
        "task tiny_stories: 3 documents instead of 4, so that those with the same story stay "
        "together"
    ) in caplog.text


def test_tasks_in_python() -> None:
    task = InPython([{"story": story} for story in "aabbb"])
    assert cluster_field(task, "story") == "story"
    keep_whole_clusters(task, 4, "story")
    assert task.eval_docs == [{"story": "a"}] * 2


@pytest.mark.usefixtures("fast_tasks")
@pytest.mark.parametrize("limit", [7, 0.85])
@pytest.mark.parametrize("race", [False, True])
def test_a_sweep_answers_whole_clusters(
    run: Any, folder: Path, tmp_path: Path, race: bool, limit: float
) -> None:
    summary = run("tiny_stories", include_path=str(folder), split="test", limit=limit, race=race)
    (file,) = (tmp_path / "out" / "boundary=-1").glob("samples_tiny_stories_*.jsonl")
    stories = [json.loads(line)["doc"]["story"] for line in file.read_text("utf-8").splitlines()]
    assert "".join(stories) == "aaabbc"
    if race:
        assert summary["race"]["documents"] == 6
