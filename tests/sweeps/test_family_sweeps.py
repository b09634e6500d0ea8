"""Sweeps of families: what is scored, written, chosen and said about controls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import safetensors.torch
from tiny_models import LAYERS

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.compare.labels import labels
from lm_eval_lora_boundary.compare.sweeps import read_sweep, representatives
from lm_eval_lora_boundary.cuts.keep import Cut, parse_keep
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, ModelError, TaskError
from lm_eval_lora_boundary.forward.fork import Fork
from lm_eval_lora_boundary.report.read import read_sweep as for_report
from lm_eval_lora_boundary.report.sentences import advice
from lm_eval_lora_boundary.stats import race as race_rules
from lm_eval_lora_boundary.sweeps import measures

pytestmark = pytest.mark.usefixtures("fast_tasks")
FULL = LAYERS - 1
ALL = "upper,lower,random:3,norm,output,map,each,only,scale:0.5:1.5"
WORDS = "tiny_last_word"  # its perplexity tells any two cuts apart
Run = Callable[..., dict[str, Any]]
Tiny = Callable[..., tuple[Path, Path]]


def rows(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of all cuts by notation; a cut has the same row wherever it stands."""
    found: dict[str, dict[str, Any]] = {}
    for family in entry["families"].values():
        for row in family["cuts"]:
            known = found.setdefault(row["cut"], row)
            assert known["value"] == row["value"]
    return found


def test_all_families_in_one_sweep(run: Run, tiny: Tiny, task_folder: Path, tmp_path: Path) -> None:
    entry = run(WORDS, family=ALL, split="test")["tasks"][WORDS]
    assert [row["boundary"] for row in entry["boundaries"]] == list(range(-1, LAYERS))
    families = entry["families"]
    assert list(families) == ALL.split(",")[1:]
    by_boundary = {row["boundary"]: row["value"] for row in entry["boundaries"]}
    for name, family in families.items():
        if family["kind"] == "order":
            assert [row["kept"] for row in family["cuts"]] == list(range(LAYERS, -1, -1))
            ends = family["cuts"][0]["boundary"], family["cuts"][-1]["boundary"]
            assert ends == (FULL, -1)
        for row in family["cuts"]:
            if row["boundary"] is not None:
                assert row["value"] == by_boundary[row["boundary"]]
            assert row["kept"] == sum(s != 0 for s in parse_keep(row["cut"], LAYERS).strengths)
        assert (name == "scale:0.5:1.5") == (family["kind"] == "scale")
    assert [row["strength"] for row in families["scale:0.5:1.5"]["cuts"]] == [0.5, 1.5]
    assert [row["layer"] for row in families["each"]["cuts"]] == list(range(LAYERS))

    # every value is what lm-eval itself finds under this cut
    found = rows(entry)
    for cut in ("1-3", "2", "all@0.5", families["random:3"]["cuts"][2]["cut"]):
        base, adapter = tiny()
        lm = LoraBoundaryLM(str(base), peft=str(adapter), keep=cut, dtype="float32", device="cpu")
        manager = lm_eval.tasks.TaskManager(include_path=str(task_folder))
        alone = lm_eval.simple_evaluate(lm, tasks=[WORDS], task_manager=manager)
        assert alone is not None
        value = alone["results"][WORDS]["perplexity,none"]
        assert found[cut]["value"] == pytest.approx(value, rel=1e-4)
        boundary = parse_keep(cut, LAYERS).boundary
        folder = f"cut={cut}" if boundary is None else f"boundary={boundary}"
        (file,) = (tmp_path / "out" / folder).glob("results_*.json")
        config = json.loads(file.read_text())["config"]
        assert config["cut"] == cut
        if boundary is None:
            assert config["model_args"]["keep"] == cut
            assert "boundary" not in config["model_args"]


def test_a_list_is_known_by_its_cuts_and_not_by_its_folder(run: Run, tmp_path: Path) -> None:
    def signature(folder: str, text: str, name: str = "cuts.txt") -> str:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        found = run(WORDS, family=f"lower,file:{path},upper", boundaries="1", force=True)
        assert list(found["tasks"][WORDS]["families"]) == ["lower", f"file:{name}"]
        assert "| family lower,file:" in found["signature"]
        assert str(tmp_path) not in found["signature"]
        return str(found["signature"])

    known = signature("here", "1-2\n")
    assert signature("there", "1-2  # the middle\n") == known
    assert signature("there", "1-3\n") != known
    assert signature("there", "1-2\n", "other.txt") != known
    two = f"file:{tmp_path / 'here/cuts.txt'},file:{tmp_path / 'there/cuts.txt'}"
    with pytest.raises(LoraBoundaryError, match=r"would call both file:cuts\.txt; give one"):
        run(WORDS, family=two)


def test_every_row_has_the_size_of_its_cut(run: Run, tiny: Tiny) -> None:
    entry = run(WORDS, family="upper,lower,scale:0.5", split="validation")["tasks"][WORDS]
    tensors = safetensors.torch.load_file(tiny()[1] / "adapter_model.safetensors")
    families = [row for family in entry["families"].values() for row in family["cuts"]]
    boundaries = [*entry["boundaries"], *entry["test"]["boundaries"]]
    found = [(parse_keep(row["cut"], LAYERS), row) for row in [*families, *entry["test"]["cuts"]]]
    found += [(Cut.up_to(row["boundary"], LAYERS), row) for row in boundaries]
    assert len(families) > 1 and entry["test"]["boundaries"]
    for cut, row in found:
        kept = {f".layers.{layer}." for layer in range(LAYERS) if cut.strengths[layer]}
        own = [t for name, t in tensors.items() if any(layer in name for layer in kept)]
        assert row["parameters"] == sum(tensor.numel() for tensor in own)
        assert row["bytes"] == sum(tensor.nbytes for tensor in own)
        assert row["flops_per_token"] == 2 * row["parameters"]
        assert row["layers_kept"] == len(kept)


def test_the_map_orders_layers_by_what_is_lost_without_them(run: Run) -> None:
    entry = run(WORDS, family="map,each", confirm=False)["tasks"][WORDS]
    whole = next(row["value"] for row in entry["boundaries"] if row["boundary"] == FULL)
    lost = {
        row["layer"]: row["value"] - whole  # more perplexity
        for row in entry["families"]["each"]["cuts"]
    }
    first = [
        set(range(LAYERS))
        - {i for i, s in enumerate(parse_keep(row["cut"], LAYERS).strengths) if s}
        for row in entry["families"]["map"]["cuts"][1:]
    ]
    order = [(after - before).pop() for before, after in zip([set(), *first], first, strict=False)]
    assert order == sorted(lost, key=lambda layer: (lost[layer], -layer))
    effects = {row["layer"]: row["effect"] for row in entry["layer_map"]["each"]["layers"]}
    assert effects == pytest.approx(lost)
    assert "only" not in entry["layer_map"]


def test_only_what_was_asked_for_is_scored(run: Run, tmp_path: Path) -> None:
    found = run(WORDS, family="lower", confirm=False)
    entry = found["tasks"][WORDS]
    assert [row["boundary"] for row in entry["boundaries"]] == [-1, FULL]
    assert "family lower" in found["signature"]
    folders = {folder.name for folder in (tmp_path / "out").glob("*=*")}
    assert folders == {"boundary=-1", f"boundary={FULL}", "cut=1-3", "cut=2-3", "cut=3"}
    again = run(WORDS, confirm=False, force=True)
    assert "families" not in again["tasks"][WORDS]
    folders = {folder.name for folder in (tmp_path / "out").glob("*=*")}
    assert folders == {f"boundary={boundary}" for boundary in range(-1, LAYERS)}


def test_a_sweep_of_families_resumes_and_keeps_its_order(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    families = "upper,output,each"
    run(WORDS, family=families, confirm=False)
    before = (tmp_path / "out/sweep.json").read_bytes()
    answered = []
    answer = Fork._answer
    monkeypatch.setattr(Fork, "_answer", lambda *a: answered.append(a) or answer(*a))
    # the order is noted, so that rounding on another machine cannot change it
    other = dict(zip(range(LAYERS), np.random.default_rng(0).random(LAYERS), strict=True))
    monkeypatch.setattr(measures, "output_norms", lambda *_: other)
    run(WORDS, family=families, confirm=False)
    assert (tmp_path / "out/sweep.json").read_bytes() == before
    assert len(answered) == 3  # the trial of the engine


def test_engines_agree_on_families(run: Run) -> None:
    ours = run(WORDS, family="lower,scale:0.5", confirm=False, engine="fork")
    theirs = run(WORDS, family="lower,scale:0.5", confirm=False, engine="toggle", output="other")
    for cut, row in rows(ours["tasks"][WORDS]).items():
        assert row["value"] == pytest.approx(rows(theirs["tasks"][WORDS])[cut]["value"], rel=1e-4)


def test_a_race_of_families(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"family": "upper,lower,only,scale:0.5:2", "confirm": False, "split": "test"}
    whole = run("tiny_choices", output="whole", **settings)
    # nine documents are too few for much evidence
    monkeypatch.setattr(race_rules, "FIRST_ROUND", 3)
    found = run("tiny_choices", race=True, error_rate=0.999, **settings)
    values, entry = rows(whole["tasks"]["tiny_choices"]), found["tasks"]["tiny_choices"]
    scored = rows(entry)
    for cut, row in scored.items():
        assert row["value"] == values[cut]["value"]
    dropped = {each["cut"] for each in found["race"]["dropped"] if "cut" in each}
    assert dropped
    assert {*scored} == {*values} - dropped - {
        parse_keep(cut, LAYERS).notation
        for cut in values
        if parse_keep(cut, LAYERS).boundary
        in {each.get("boundary") for each in found["race"]["dropped"]} - {None, -1, FULL}
    }
    if not {row["cut"] for row in values.values() if row.get("layer") is not None} <= {*scored}:
        assert "no layer map from family only" in caplog.text
        assert entry["layer_map"] == {}


def test_a_choice_that_is_no_boundary_is_saved_and_read_back(
    run: Run, tiny: Tiny, tmp_path: Path
) -> None:
    base, adapter = tiny()
    copy = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    found = run(WORDS, family="scale:0.1:0.2:0.3", peft=copy, save=True, split="validation")
    entry = found["tasks"][WORDS]
    assert entry["best"].startswith("all@0.")
    assert entry["best_boundary"] in (-1, FULL)
    (judged,) = (row for row in entry["test"]["cuts"] if row["cut"] == entry["best"])
    (task,) = for_report(tmp_path / "out").tasks
    assert task.best == entry["best"]
    assert (f"(keep={entry['best']})" in advice(task, FULL)) == (entry["choice"] == entry["best"])
    runs, _ = representatives(read_sweep(tmp_path / "out"))
    assert any(f" keep={entry['best']} (best)" in label for label in labels(runs))
    record = json.loads((copy / "lora_boundary.json").read_text())
    if entry["choice"] == entry["best"]:
        assert record["boundary"] is None
        assert record["cut"] == entry["best"]
        assert record["value"] == judged["value"]
        lm = LoraBoundaryLM(str(base), peft=str(copy), boundary="auto", device="cpu")
        assert lm.get_model_info()["cut"] == entry["best"]
    else:
        assert entry["choice_reason"]
        assert record["boundary"] == entry["choice"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"family": "upper,lowest"}, LoraBoundaryError, "family=lowest: there is no such family"),
        ({"family": "lower", "boundaries": [1]}, LoraBoundaryError, "does not have upper"),
        ({"family": "each", "candidates": "trace"}, LoraBoundaryError, "does not have upper"),
        ({"family": "output", "engine": "vllm"}, ModelError, "family=output looks into the layers"),
        ({"family": ""}, LoraBoundaryError, "expected at least one name"),
        (
            {"family": "map", "tasks": "tiny_words,tiny_choices"},
            TaskError,
            "family=map orders layers by the map of one task",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_swept_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str, run: Run
) -> None:
    with pytest.raises(error, match=message):
        run(**({"tasks": WORDS} | settings))


def test_strengths_of_dora_are_refused(run: Run, tiny: Tiny) -> None:
    base, adapter = tiny(use_dora=True)
    with pytest.raises(AdapterError, match="does not scale linearly"):
        run(WORDS, pretrained=base, peft=adapter, family="scale")
    entry = run(WORDS, pretrained=base, peft=adapter, family="lower", confirm=False)["tasks"][WORDS]
    assert len(entry["families"]["lower"]["cuts"]) == LAYERS + 1
