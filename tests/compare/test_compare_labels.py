"""How rows are labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare.labels import differing_parts, labels, shortest_suffixes
from lm_eval_lora_boundary.compare.runs import Run


def run(args: dict[str, Any], folder: str = "out", boundary: int | None = None) -> Run:
    return Run(
        files=(Path(folder) / "results_x.json",),
        model="hf",
        args=args,
        settings={},
        boundary=boundary,
        layers=None,
        kept_parameters=None,
        tasks={},
        subtasks={},
    )


def test_labels_show_what_differs() -> None:
    same = {"pretrained": "org/base", "peft": "org/lora"}
    runs = [run({**same, "dtype": d, "revision": "main"}) for d in ("float32", "bfloat16")]
    assert labels(runs) == ["lora, dtype=float32", "lora, dtype=bfloat16"]
    assert labels([run({"peft": "a/x"}), run({"peft": "b/x"})]) == ["a/x", "b/x"]
    assert labels([run(same, "out/a/m"), run(same, "out/b/m")]) == ["lora, a", "lora, b"]
    assert labels([run(same), run(same)]) == ["lora", "lora #2"]


texts = st.sampled_from(["a", "b", "a/a", "b/a", "a/b", "/a", "", "a #2", "a, x=1"])


@given(
    st.lists(
        st.builds(
            run,
            st.dictionaries(st.sampled_from(["peft", "pretrained", "x"]), texts),
            texts,
            st.sampled_from([None, -1, 3]),
        ),
        max_size=6,
    )
)
def test_labels_are_unique(runs: list[Run]) -> None:
    assert len(set(labels(runs))) == len(runs)


@given(st.lists(texts.filter(bool), min_size=1, max_size=6, unique=True))
def test_shortened_paths_stay_distinct(paths: list[str]) -> None:
    distinct = len({Path(path) for path in paths})
    assert len(set(shortest_suffixes(paths))) == distinct
    assert len(set(differing_parts(paths))) == distinct
