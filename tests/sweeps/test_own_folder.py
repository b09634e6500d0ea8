"""A folder belongs to its run: what may go on in it, and what is refused until it is forced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_adapter, tiny_model

from lm_eval_lora_boundary import trace
from lm_eval_lora_boundary.errors import LoraBoundaryError, OutputError
from lm_eval_lora_boundary.files import SWEEP, TRACE, UNFINISHED
from lm_eval_lora_boundary.harness.run_folder import refuse_other_sweep, refuse_other_trace
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.traces.settings import TraceSettings

pytestmark = pytest.mark.usefixtures("fast_tasks")
Run = Callable[..., dict[str, Any]]
WORDS = "tiny_last_word"
COMMON: dict[str, Any] = {"pretrained": "base", "peft": "adapter", "tasks": ("a", "b")}


def recorded(folder: Path, name: str, settings: SweepSettings | TraceSettings) -> None:
    (folder / name).write_text(json.dumps({"settings": settings.as_json()}))


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # before, now, what is said of the difference ("": none)
    ({"limit": 48}, {"limit": 2}, "limit is 48 there and 2 here"),
    ({"limit": 48}, {}, "limit is 48 there and not given here"),
    ({}, {"apply_chat_template": True}, "apply_chat_template is False there and True here"),
    ({"tasks": ("a", "b")}, {"tasks": ("a",)}, "tasks is a,b there and a here"),
    ({"boundaries": "1-3"}, {"boundaries": "1,3"}, "boundaries is '1-3' there and '1,3' here"),
    ({}, {"boundaries": "1-3"}, "boundaries is 'all' there and '1-3' here"),
    ({"gen_kwargs": {"a": 1}}, {}, 'gen_kwargs is {"a": 1} there and {} here'),
    ({"engine": "vllm"}, {}, "engine is 'vllm' there and 'auto' here"),
    ({}, {"confirm": False}, "confirm is True there and False here"),
    ({"family": ("upper", "norm")}, {}, "family is upper,norm there and upper here"),
    ({"batch_size": 8}, {"batch_size": 2, "device": "cpu", "save": True}, ""),
    ({"engine": "fork"}, {"engine": "toggle"}, ""),
    ({"boundaries": "1,3"}, {"boundaries": "1-3"}, ""),
    ({"boundaries": "1,3"}, {}, ""),
    ({}, {"tasks": ("b", "a", "c"), "family": ("norm", "upper"), "control": ("d",)}, ""),
    ({"confirm": False}, {"peft": "./adapter"}, ""),
]


@pytest.mark.parametrize("file", [SWEEP, UNFINISHED])
@pytest.mark.parametrize(("before", "now", "said"), CHANGES)
def test_what_another_sweep_may_change(
    before: dict[str, Any],
    now: dict[str, Any],
    said: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("adapter").mkdir()
    recorded(tmp_path, file, SweepSettings(**(COMMON | before)))
    given = SweepSettings(**(COMMON | now)).as_json()
    of_results = {"boundaries", "confirm", "family"} & {*before, *now}
    if not said or (file == UNFINISHED and of_results):
        refuse_other_sweep(tmp_path, given)
        return
    with pytest.raises(OutputError) as caught:
        refuse_other_sweep(tmp_path, given)
    kind = "an unfinished sweep" if file == UNFINISHED else "a sweep"
    assert f"holds {kind} with other settings: {said}; give another --output" in str(caught.value)


def test_several_differences_are_all_named(tmp_path: Path) -> None:
    recorded(tmp_path, SWEEP, SweepSettings(**COMMON, limit=48, num_fewshot=2, metric="acc"))
    with pytest.raises(OutputError, match=r"limit is .*; metric is .*; num_fewshot is .*; give"):
        refuse_other_sweep(tmp_path, SweepSettings(**COMMON).as_json())


def test_a_trace_and_a_sweep_share_model_tasks_and_prompts(tmp_path: Path) -> None:
    sweep, trace = SweepSettings(**COMMON, limit=5), TraceSettings(**COMMON, limit=4)
    one_task = TraceSettings(**(COMMON | {"tasks": ("b",)}), limit=5, gradient=True)
    recorded(tmp_path, SWEEP, sweep)
    with pytest.raises(OutputError, match=r"a sweep with other settings: limit is 5 .* beside it"):
        refuse_other_trace(tmp_path, trace.as_json())
    refuse_other_trace(tmp_path, one_task.as_json())
    recorded(tmp_path, TRACE, trace)
    with pytest.raises(OutputError, match="a trace with other settings: limit is 4 there and 5"):
        refuse_other_sweep(tmp_path, sweep.as_json())
    recorded(tmp_path, TRACE, one_task)
    refuse_other_sweep(tmp_path, sweep.as_json())
    with pytest.raises(OutputError, match="a trace with other settings: gradient is True there"):
        refuse_other_trace(
            tmp_path, TraceSettings(**(COMMON | {"tasks": ("b",)}), limit=5).as_json()
        )


@pytest.mark.parametrize("content", ["{}", '{"settings": 3}', '{"settings": {}}', "no JSON", "[]"])
@pytest.mark.parametrize("file", [SWEEP, TRACE])
def test_a_file_without_settings_is_refused_in_one_line(
    content: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)
    check = refuse_other_sweep if file == SWEEP else refuse_other_trace
    with pytest.raises(OutputError, match=r"give another --output, or --force to replace it"):
        check(tmp_path, SweepSettings(**COMMON).as_json())


def test_nothing_is_lost_until_it_is_forced(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(WORDS, boundaries="0,2")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert not (out / UNFINISHED).exists()
    with pytest.raises(OutputError, match="limit is not given there and 3 here"):
        run(WORDS, boundaries="0,2", limit=3)
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after == before
    small = run(WORDS, boundaries="2", limit=3, force=True, confirm=False)
    assert small["tasks"][WORDS]["documents"] == 3
    assert not (out / "boundary=0").exists() and not (out / "test").exists()
    # answers were kept
    assert run(WORDS, boundaries="0,2", force=True) == first
    more = run(WORDS, boundaries="0-2")
    old, new = (
        {row["boundary"]: row["value"] for row in found["tasks"][WORDS]["boundaries"]}
        for found in (first, more)
    )
    assert old.items() < new.items() and new.keys() - old.keys() == {1}


def test_an_interrupted_sweep_goes_on_with_smaller_batches(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = 0
    put = AnswerStore.put

    def interrupted(*batch: Any) -> None:
        nonlocal batches
        put(*batch)
        batches += 1
        if batches == 2:
            raise KeyboardInterrupt

    whole = run(WORDS, output="whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AnswerStore, "put", interrupted)
        run(WORDS, engine="fork", batch_size=4)
    assert (tmp_path / "out" / UNFINISHED).exists()
    with pytest.raises(OutputError, match=r"an unfinished sweep .*limit is not given there and 3"):
        run(WORDS, limit=3)
    found = run(WORDS, batch_size=3)
    assert not (tmp_path / "out" / UNFINISHED).exists()
    assert found["tasks"][WORDS]["choice"] == whole["tasks"][WORDS]["choice"]


def test_a_mistake_can_be_corrected(run: Run, tmp_path: Path) -> None:
    for mistake in ({"boundaries": "9"}, {"metric": "none"}, {"gen_kwargs": {"nonsense": 1}}):
        with pytest.raises(LoraBoundaryError) as caught:
            run("tiny_words", limit=2, **mistake)
        assert "other settings" not in str(caught.value)
    run("tiny_words", boundaries="1", limit=3, confirm=False)


def test_other_weights_under_the_same_name(run: Run, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model())
    run(WORDS, peft=adapter, boundaries="1", confirm=False)
    save_adapter(adapter, tiny_model(), r=2)
    with pytest.raises(OutputError, match="a sweep of another adapter under the same name"):
        run(WORDS, peft=adapter, boundaries="1", confirm=False)


def test_a_forced_sweep_replaces_the_trace_of_other_documents(
    run: Run, tiny: Any, task_folder: Path, tmp_path: Path
) -> None:
    base, adapter = map(str, tiny())
    how: dict[str, Any] = {"include_path": str(task_folder), "dtype": "float32", "device": "cpu"}
    trace(base, adapter, WORDS, tmp_path / "out", limit=2, **how)
    with pytest.raises(OutputError, match="a trace with other settings: limit is 2 there"):
        run(WORDS, boundaries="1", confirm=False)
    run(WORDS, boundaries="1", confirm=False, force=True)
    assert not list((tmp_path / "out").glob("trace*"))
    with pytest.raises(OutputError, match="a sweep with other settings: limit is not given there"):
        trace(base, adapter, WORDS, tmp_path / "out", limit=2, **how)
    trace(base, adapter, WORDS, tmp_path / "out", limit=2, force=True, **how)
    assert (tmp_path / "out" / SWEEP).exists() and (tmp_path / "out" / TRACE).exists()
