"""What ``--dry-run`` says that documents can show, and sweeps of documents that belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.errors import LoraBoundaryError, TaskError
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.power import detectable, documents_to_keep, spread
from lm_eval_lora_boundary.sweeps.plan import plan
from lm_eval_lora_boundary.sweeps.resolution import resolution, seen_so_far
from lm_eval_lora_boundary.sweeps.settings import SweepSettings

Run = Callable[..., dict[str, Any]]
TENTH = Margin(0.1, is_share=True)


def test_without_scores_a_disagreement_is_assumed() -> None:
    first, second = resolution(200, TENTH, None, binary=True)
    assert "0.063 would be seen 4 times in 5 if 10% of the answers differ" in first
    assert "0.089 if 20% do" in first
    assert detectable(200, spread(0.1)) == pytest.approx(0.063, abs=0.0005)
    needed = documents_to_keep(0.04, (0.1 + 0.01 * 0.4 * 0.6) ** 0.5)
    assert f"{needed:,} for a gain of 0.4" in second
    first, second = resolution(200, Margin(0.05, is_share=False), None, binary=True)
    assert second.endswith(f": about {documents_to_keep(0.05, 0.1**0.5):,}")
    (only,) = resolution(200, TENTH, None, binary=False)
    assert "sweep some documents first" in only


def test_an_earlier_sweep_tells_the_disagreement() -> None:
    known = {
        "spread": 0.2,
        "base_spread": 0.4,
        "gain": 0.5,
        "scale": 1.0,
        "documents": 40,
        "value": 0.1,
    }
    seen = {"metric": "acc,none", "answers": {"could_tell": known}}
    first, second = resolution(300, TENTH, seen, binary=True)
    assert f"a difference of {detectable(300, 0.2):.2g} in acc,none" in first
    assert "seen on 40 documents" in first
    needed = documents_to_keep(0.05, (0.04 + 0.0016) ** 0.5)
    assert second.endswith(f": about {needed:,}")
    # another margin than that of the sweep
    _, other = resolution(300, Margin(0.02, is_share=True), seen, binary=True)
    assert other.endswith(f": about {documents_to_keep(0.01, (0.04 + 0.02**2 * 0.16) ** 0.5):,}")
    # without a gain there is no share of it
    assert (
        len(
            list(
                resolution(
                    300,
                    TENTH,
                    {**seen, "answers": {"could_tell": known | {"gain": None}}},
                    binary=True,
                )
            )
        )
        == 1
    )


@pytest.mark.usefixtures("fast_tasks")
def test_a_plan_and_a_sweep_of_clusters(
    run: Run, tiny: Callable[..., tuple[Path, Path]], task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = tiny()
    settings = SweepSettings(
        pretrained=str(base),
        peft=str(adapter),
        tasks=("tiny_choices",),
        control=("tiny_text",),
        include_path=str(task_folder),
        dtype="float32",
        device="cpu",
        split="test",
    )
    text = plan(settings, tmp_path / "out")
    assert "What 9 documents can show (tiny_choices):" in text, text
    assert "tiny_text, a control task: " in text
    found = run("tiny_choices", cluster="gold", split="test")
    entry = found["tasks"]["tiny_choices"]
    assert entry["clusters"] == {"field": "gold", "count": 3}
    assert "cluster gold" in found["signature"]
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Documents that belong together were drawn together: 3 values of gold." in page
    # now the sweep tells how much cuts disagree
    assert seen_so_far(tmp_path / "out", "tiny_choices") is not None
    assert "by the disagreement seen on 9 documents" in plan(settings, tmp_path / "out")
    alone = run("tiny_choices", "alone", cluster="none", split="test")["tasks"]["tiny_choices"]
    assert alone["clusters"] is None
    values = [[row["value"] for row in each["boundaries"]] for each in (entry, alone)]
    assert values[0] == values[1]
    assert [row["stderr"] for row in entry["boundaries"]] == [
        row["stderr"] for row in alone["boundaries"]
    ]


@pytest.mark.usefixtures("fast_tasks")
def test_a_field_that_is_not_there_and_a_margin_that_is_none_are_refused(run: Run) -> None:
    with pytest.raises(TaskError, match="cluster=chapter is not a field"):
        run("tiny_choices", cluster="chapter")
    with pytest.raises(LoraBoundaryError, match="margin=120%; expected a share"):
        run("tiny_choices", margin="120%")
