"""What a trace does with gradients: measured cuts, files and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
from command_line import command_line
from gradient_helpers import GOLD, Run, Tiny, load, second
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.traces.gradient import Differentiator, Gradient, measure
from lm_eval_lora_boundary.traces.layer_map import Measured, layer_map, summary


def test_measured_cuts_are_those_of_a_second_implementation(tiny: Tiny) -> None:
    folders = tiny()
    without, upper = Measured.cuts(LAYERS)
    assert [cut.notation for cut in without] == ["1-3", "0+2-3", "0-1+3", "0-2"]
    assert [cut.boundary for cut in upper] == [-1, 0, 1, 2, 3]
    found = measure(load(folders), GOLD, [*without, *upper])
    score = second(folders)
    for cut, values in found.items():
        expected = [score(document, cut.strengths) for document in GOLD]
        assert values == pytest.approx(expected, abs=1e-6)


def test_cuts_that_keep_the_same_modules_are_measured_once(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load(tiny(target_modules=["q_proj"], layers_to_transform=[1, 2]))
    moved: list[str] = []
    move = LoraCut.move

    def note(self: LoraCut, cut: Any) -> None:
        moved.append(self.cut(cut).notation)
        move(self, cut)

    monkeypatch.setattr(LoraCut, "move", note)
    without, upper = Measured.cuts(LAYERS)
    found = measure(lm, GOLD, [*without, *upper])
    # the last one goes back to the whole adapter
    assert moved == ["1-3", "0+2-3", "0-1+3", "none", "all"]
    assert set(found) == {*without, *upper}
    assert (found[without[0]] == found[upper[-1]]).all()


def test_integrals_add_up_to_the_gain_of_a_small_adapter(tiny: Tiny, tmp_path: Path) -> None:
    """Up to the error of the quadrature, which the size of the adapter decides."""
    base, _ = tiny()
    errors = []
    for scale in (0.03, 0.06):
        model = peft.get_peft_model(tiny_model(), lora_config())
        randomise(model, scale=scale).save_pretrained(tmp_path / str(scale))
        lm = load((base, tmp_path / str(scale)))
        found = layer_map(Differentiator(lm).read(GOLD))
        assert abs(found["gain"]) > 1e-3
        errors.append(abs(found["sum"] - found["gain"]) / abs(found["gain"]))
    assert errors[0] < 1e-4 and errors[1] < 1e-2


def test_a_trace_with_a_gradient(run: Run, tmp_path: Path) -> None:
    found = run("tiny_words,tiny_choices", gradient=True, measure=True)
    assert json.loads((tmp_path / "out/trace.json").read_text()) == found
    for task in ("tiny_words", "tiny_choices"):
        entry = found["tasks"][task]["gradient"]
        text = (tmp_path / f"out/trace_documents_{task}.jsonl").read_text()
        documents = [json.loads(line) for line in text.splitlines()]
        rows = [document["gradient"] for document in documents]
        again = layer_map(
            [Gradient(np.array(row["logprob"]), np.array(row["derivative"])) for row in rows],
            Measured(
                np.array([row["measured"]["without"] for row in rows]),
                np.array([row["measured"]["upper"] for row in rows]),
            ),
        )
        assert len(rows) == entry["documents"]
        for part, other in ((entry, again), (entry["measured"], again["measured"])):
            for layer, expected in zip(part["layers"], other["layers"], strict=True):
                assert layer == pytest.approx(expected, rel=1e-4, abs=1e-4)
        # the curves of the trace itself, at the last layer, are another way to the same numbers
        for document in documents:
            for name, place in (("base", 0), ("full", -1)):
                total = sum(document["models"][name]["logprob"][-1])
                assert document["gradient"]["logprob"][place] == pytest.approx(total, abs=1e-4)
                upper = document["gradient"]["measured"]["upper"]
                assert upper[place] == pytest.approx(total, abs=1e-4)
        plots = tmp_path / "out/plots" / task
        assert {"gradient.png", "gradient.svg"} <= {path.name for path in plots.iterdir()}


def test_without_a_gradient_there_is_none(run: Run, tmp_path: Path) -> None:
    plain = run("tiny_words")
    assert "gradient" not in plain["tasks"]["tiny_words"]
    found = run("tiny_words", gradient=True, output=tmp_path / "with")["tasks"]["tiny_words"]
    assert found.pop("gradient")["measured"] is None
    assert found == plain["tasks"]["tiny_words"]
    assert not (tmp_path / "out/plots/tiny_words/gradient.png").exists()
    # the plot of an earlier trace does not stay
    signed = run("tiny_words", gradient=True)["signature"]
    assert "gradient computed" in signed and "gradient" not in plain["signature"]
    assert (tmp_path / "out/plots/tiny_words/gradient.png").exists()
    run("tiny_words", force=True)
    assert not (tmp_path / "out/plots/tiny_words/gradient.png").exists()


def test_errors_come_before_any_work(
    run: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task_folder: Path
) -> None:
    with pytest.raises(
        LoraBoundaryError, match="measure=True cannot be used; expected gradient=True as well"
    ):
        run("tiny_words", measure=True)
    base, adapter = map(str, tiny(use_dora=True))
    arguments = [
        *("trace", "--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"),
        *("--output", str(tmp_path / "out"), "--include-path", str(task_folder)),
        *("--device", "cpu", "--gradient"),
    ]
    done = command_line(*arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.strip().splitlines()[-1:]
    assert "a gradient needs an adapter that can be scaled in every layer" in line


def test_the_command_prints_what_the_gradient_says(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())
    done = command_line(
        *("trace", "--pretrained", base, "--peft", adapter, "--tasks", "tiny_words"),
        *("--output", str(tmp_path / "out"), "--include-path", str(task_folder)),
        *("--device", "cpu", "--dtype", "float32", "--limit", "4", "--gradient", "--measure"),
    )
    assert done.code == 0, done.err
    entry = json.loads((tmp_path / "out/trace.json").read_text())["tasks"]["tiny_words"]
    assert entry["gradient"]["documents"] == 4
    lines = [f"  {line}" for line in summary(entry["gradient"])]
    assert len(lines) == 3
    assert done.out.splitlines()[:4] == [f"tiny_words: {entry['verdict']}", *lines]
