"""Sweeps that give no reason to choose a boundary."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tiny_models import LAYERS
from tiny_tasks import COMMON, write_rows

from lm_eval_lora_boundary.compare.sweeps import read_sweep, representatives
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.report.full_answer import full_answer
from lm_eval_lora_boundary.report.read import read_sweep as for_report
from lm_eval_lora_boundary.report.sentences import advice, caveats, finding
from lm_eval_lora_boundary.report.table import table
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.sweeps.decision import decide
from lm_eval_lora_boundary.sweeps.metric import Metric, choose_metric
from lm_eval_lora_boundary.sweeps.scores import Measured, measure, task_scores
from lm_eval_lora_boundary.sweeps.summary import confirmed, summarise

FULL = LAYERS - 1
TENTH = Margin(0.1, is_share=True)
SCORE = """
import zlib

def some(doc, results):
    value = zlib.crc32(results[0].encode())
    return {} if value % 3 == 0 else {"odd": float(value % 2)}

def none(doc, results):
    return {}
"""
PARTLY = """
output_type: generate_until
doc_to_text: "{{question}}"
generation_kwargs: {until: [], max_gen_toks: 6}
metric_list: [{metric: odd, aggregation: mean, higher_is_better: true}]
"""
Run = Callable[..., dict[str, Any]]
ODD = Metric("odd", "none", higher_is_better=True, mean=True)
TASK: Any = SimpleNamespace(
    task_name="t",
    aggregation=lambda: {"odd": None},
    higher_is_better=lambda: {"odd": True},
    _filters=[SimpleNamespace(name="none")],
)


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("partly")
    for split, shift in (("train", 3), ("validation", 0), ("test", 11)):
        rows = [
            {
                "question": " ".join(f"w{(i * 5 + j * 3 + shift) % 60}" for j in range(4)),
                "answer": f"w{i}",
            }
            for i in range(16)
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    (folder / "partly.py").write_text(SCORE)
    common = COMMON.format(folder=folder)
    for name, function in (("partly", "some"), ("never", "none")):
        text = f"task: {name}\n{common}\n{PARTLY}\nprocess_results: !function partly.{function}\n"
        (folder / f"{name}.yaml").write_text(text)
    (folder / "wrong.yaml").write_text(
        f"task: wrong\n{common}\n"
        + PARTLY.replace("odd, aggregation: mean, higher_is_better: true", "exact_match")
    )
    return folder


def check_texts(found: dict[str, Any], folder: Path, sentence: str) -> None:
    """Check that terminal and report hold a sentence, and recommend the whole adapter."""
    (entry,) = found["tasks"].values()
    assert sentence in entry["not_chosen"]
    assert entry["choice"] == FULL
    sweep = for_report(folder)
    (task,) = sweep.tasks
    console = Console(width=1000, file=io.StringIO())
    for part in full_answer(sweep, FULL):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"No verdict: {task.not_chosen}." in text and sentence in text
    assert "recommended" not in text and "best score" not in text
    assert advice(task, FULL) == f"Keep the whole adapter (boundary {FULL})"
    assert sentence in finding(task)
    assert "looks better" not in " ".join(caveats(task, FULL, {}))
    page = (folder / "report.html").read_text("utf-8")
    assert sentence in page
    assert "<small>whole, best</small>" not in page
    assert "<small>base, best</small>" not in page
    runs, warnings = representatives(read_sweep(folder))
    assert not any("best" in str(run.role) for run in runs)
    assert any(sentence in warning for warning in warnings)


def test_boundaries_scored_on_different_documents_are_not_ranked(
    run: Run, tiny: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))
    found = run("partly", peft=adapter, save=True, confirm=False, split="validation")
    entry = found["tasks"]["partly"]
    scored: dict[int, set[int]] = {}
    for row in entry["boundaries"]:
        (file,) = (tmp_path / "out" / f"boundary={row['boundary']}").glob("samples_*.jsonl")
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        documents = {line["doc_id"]: line["odd"] for line in lines if "odd" in line}
        scored[row["boundary"]] = set(documents)
        assert row["documents"] == len(documents)
        assert row["value"] == pytest.approx(sum(documents.values()) / len(documents))
    assert len({frozenset(each) for each in scored.values()}) > 1
    for row in entry["boundaries"]:
        for name, reference in (("delta_full", FULL), ("delta_base", -1)):
            same = scored[row["boundary"]] == scored[reference]
            assert (row[name] is not None) == same
        assert row["ci_low"] is row["p_value"] is row["selection_share"] is None
    assert entry["best"] == FULL
    assert entry["smallest_noninferior"] is entry["collapse"] is entry["optimism"] is None
    check_texts(found, tmp_path / "out", "the cuts were scored on different validation documents")
    assert not (adapter / "lora_boundary.json").exists()
    (task,) = for_report(tmp_path / "out").tasks
    shown = table(task, task.rows, {}, FULL)
    column = [heading.text for heading in shown.headings].index("documents")
    documents = [line.cells[column].text for line in shown.lines]
    assert documents == [str(row["documents"]) for row in entry["boundaries"]]
    assert "are not available where a boundary was scored on other documents" in " ".join(
        caveats(task, FULL, {})
    )


def test_a_race_on_different_documents_runs_in_full_and_chooses_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    entry = run("partly", race=True, confirm=False, split="validation")["tasks"]["partly"]
    assert "odd,none is missing for some documents" in caplog.text
    assert len(entry["boundaries"]) == LAYERS + 1
    assert entry["choice"] == FULL
    assert entry["not_chosen"]


def test_a_task_that_scores_nothing_is_refused(run: Run) -> None:
    with pytest.raises(TaskError, match="odd,none of never is nan under every cut"):
        run("never", confirm=False)


@pytest.mark.parametrize("confirm", [True, False])
def test_a_sweep_that_measured_nothing_recommends_the_whole_adapter(
    confirm: bool, run: Run, tiny: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    adapter = Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))
    found = run("wrong", peft=adapter, save=True, confirm=confirm, split="validation")
    entry = found["tasks"]["wrong"]
    assert {row["value"] for row in entry["boundaries"]} == {0.0}
    assert entry["best"] == FULL
    assert entry["smallest_noninferior"] is entry["collapse"] is entry["optimism"] is None
    assert entry["test"] is None  # there is no choice to test
    assert not (tmp_path / "out/test").exists()
    check_texts(
        found,
        tmp_path / "out",
        "no difference between cuts was measured on 16 documents; all cuts score 0",
    )
    assert not (adapter / "lora_boundary.json").exists()


def test_identical_answers_at_all_boundaries_are_reported(
    run: Run, tiny: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    _, weak = tiny(lora_alpha=1e-7)
    found = run("wrong", peft=weak, confirm=False, split="validation", save=True)
    check_texts(
        found,
        tmp_path / "out",
        "no difference between cuts was measured on 16 documents; all cuts gave the same answers",
    )
    noted = [note for note in found["notes"] if note["kind"] == "same_as_base"]
    assert len(noted) == 1 and noted[0]["text"].startswith("on wrong, all answers with the adapter")
    assert "all answers with the adapter are those" in (tmp_path / "out/report.html").read_text()
    assert not (weak / "lora_boundary.json").exists()


def test_an_earlier_record_stays_and_this_is_logged(
    run: Run,
    tiny: Callable[..., tuple[Path, Path]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter = Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))
    (adapter / "lora_boundary.json").write_text("{}")
    run("wrong", peft=adapter, save=True, confirm=False)
    assert (adapter / "lora_boundary.json").read_text() == "{}"
    assert "nothing is recorded: no difference between cuts" in caplog.text
    assert "the earlier record in" in caplog.text


def measured(boundary: int, items: dict[int, float]) -> Measured:
    value = sum(items.values()) / len(items) if items else math.nan
    return Measured(
        Cut.up_to(boundary, LAYERS), value, None, items, {"odd,none": value}, str(boundary)
    )


def summary(*found: Measured, split: str = "validation") -> dict[str, Any]:
    return decide(summarise(task_scores(TASK, ODD, found), (), FULL, split, TENTH), FULL)


def test_documents_missing_at_all_boundaries_do_no_harm() -> None:
    low, high = measured(-1, {1: 0.0, 4: 1.0}), measured(FULL, {1: 1.0, 4: 1.0})
    entry = summary(low, high)
    assert entry["not_chosen"] is None
    assert entry["best"] == FULL
    assert entry["documents"] == 2
    assert entry["boundaries"][0]["delta_full"] == -0.5


@pytest.mark.parametrize("other", [{2: 0.0, 3: 1.0}, {}, {1: 1.0}], ids=str)
def test_different_documents_or_none_cannot_be_compared(other: dict[int, float]) -> None:
    entry = summary(measured(-1, other), measured(FULL, {1: 0.0, 4: 1.0}))
    assert entry["best"] == entry["choice"] == FULL
    assert "scored on different validation documents" in entry["not_chosen"]
    assert entry["boundaries"][0]["delta_full"] is entry["boundaries"][0]["ci_low"] is None


def test_a_confirmation_on_different_documents_rules_the_choice_out() -> None:
    chosen = summary(measured(-1, {0: 1.0, 1: 1.0}), measured(FULL, {0: 1.0, 1: 0.0}))
    assert (chosen["best"], chosen["choice"]) == (-1, FULL)  # two documents show nothing
    test = [measured(-1, {0: 1.0}), measured(FULL, {0: 1.0, 1: 0.0})]
    entry = decide(confirmed(chosen, task_scores(TASK, ODD, test), FULL), FULL)
    assert entry["best"] == entry["choice"] == FULL
    assert entry["smallest_noninferior"] is entry["collapse"] is entry["optimism"] is None
    assert "scored on different test documents (1 to 2 each)" in entry["not_chosen"]


def test_a_tie_of_some_boundaries_still_allows_a_choice() -> None:
    rows = [measured(-1, {0: 1.0, 1: 1.0}), measured(1, {0: 0.0, 1: 1.0})]
    entry = summary(*rows, measured(FULL, {0: 1.0, 1: 1.0}))
    assert entry["not_chosen"] is None
    assert (entry["best"], entry["choice"]) == (-1, FULL)
    assert "no cut is shown to be better" in entry["choice_reason"]


@pytest.mark.parametrize("asked", [None, "odd", "odd,none"])
def test_a_metric_that_the_first_boundary_lacks_is_found(asked: str | None) -> None:
    results = {
        "results": {"t": {"alias": "t"}},
        "higher_is_better": {"t": {"odd": True}},
        "samples": {"t": [{"doc_id": 0, "filter": "none", "resps": [["x"]]}]},
    }
    metric = choose_metric(TASK, results, asked)
    assert metric.key == "odd,none"
    found = measure("t", metric, Cut.up_to(-1, LAYERS), results)
    assert math.isnan(found.value)
    assert found.items == {}
