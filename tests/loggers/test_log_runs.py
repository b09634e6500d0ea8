"""Runs in W&B and trackio: what lm-eval would log of every cut, and the scores over K."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.loggers import EvaluationTracker
from log_helpers import SECRET

from lm_eval_lora_boundary.harness.loggers.evaluations import Evaluated, evaluated
from lm_eval_lora_boundary.harness.loggers.options import logger_options
from lm_eval_lora_boundary.sweeps.logged import log_sweep
from lm_eval_lora_boundary.traces.logged import log_trace
from lm_eval_lora_boundary.upstream.loggers import trackio_logger

StandIn = Callable[[str], Any]
CUTS = [f"boundary={k}" for k in range(-1, 4)]
NAMES = [*CUTS, "test/tickets/boundary=1", *(f"control/{name}" for name in CUTS)]


# lm-eval 0.5 has no logger for trackio
PACKAGES = ["wandb"] if trackio_logger() is None else ["wandb", "trackio"]


def summary(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "sweep.json").read_text())
    return content


def test_evaluations_are_found_in_the_order_of_boundaries(tmp_path: Path) -> None:
    names = ["boundary=-1", "boundary=2", "boundary=10", "cut=0-2@0.5", "test/t/boundary=2"]
    for name in [*names, ".writing-x/results", "plots"]:
        (tmp_path / name).mkdir(parents=True)
        if name != "plots":
            (tmp_path / name / "results_2026-01-01T00-00-00.json").write_text("{}")
    found = evaluated(tmp_path)
    assert [each.name for each in found] == names
    assert [each.kind for each in found] == ["cut"] * 4 + ["test"]


def test_wandb_gets_a_run_for_every_cut(stand_in: StandIn, output: Path) -> None:
    wandb = stand_in("wandb")
    log_sweep(output, logger_options(None, ["project=p"], ["seed=3"]))
    *runs, last = wandb.RUNS
    assert [run.arguments["name"] for run in runs] == NAMES and last.arguments["name"] == "sweep"
    assert {run.arguments["group"] for run in wandb.RUNS} == {"out"}
    assert {run.arguments["project"] for run in wandb.RUNS} == {"p"}
    kinds = ["cut"] * 5 + ["test"] + ["control"] * 5
    assert [run.arguments["job_type"] for run in runs] == kinds
    assert all(run.finished and run.config["seed"] == 3 for run in wandb.RUNS)
    rows = summary(output)["tasks"]["tickets"]["boundaries"]
    for run, row in zip(runs[:5], rows, strict=True):
        logged = run.logged[0][1]
        numbers = {name: value for name, value in logged.items() if "stderr" not in name}
        expected = {f"tickets/{k.removesuffix(',none')}": v for k, v in row["metrics"].items()}
        assert {name: expected.get(name) for name in numbers} == numbers
        assert run.config["boundary"] == row["boundary"] and "tickets/exact_match" in numbers


def test_one_run_has_the_scores_over_the_layers_kept(stand_in: StandIn, output: Path) -> None:
    for package in PACKAGES:
        given = {package: ["project=p,name=mine"]}
        log_sweep(output, logger_options(**given))
        last = stand_in(package).RUNS[-1]
        assert last.arguments["name"] == "mine sweep" and last.arguments["group"] == "mine"
        entry = summary(output)["tasks"]["tickets"]
        assert [step for step, _ in last.logged] == [0, 1, 2, 3, 4]
        for (step, numbers), row in zip(last.logged, entry["boundaries"], strict=True):
            assert numbers["boundary"] == row["boundary"] == step - 1
            for name in ("delta_full", "ci_low", "ci_high", "p_value"):
                assert numbers.get(f"tickets/{name}") == row[name]
            assert numbers[f"tickets/{entry['metric'].removesuffix(',none')}"] == row["value"]


@pytest.mark.parametrize("package", PACKAGES)
def test_samples_are_logged_only_if_they_are_asked_for(
    package: str, stand_in: StandIn, output: Path
) -> None:
    module = stand_in(package)

    def everything() -> str:
        held = [vars(run) for run in module.RUNS]
        artifacts = [a.files for run in module.RUNS for a in getattr(run, "artifacts", ())]
        tables = [
            value if not hasattr(value, "to_json") else value.to_json()
            for run in module.RUNS
            for _, numbers in run.logged
            for value in numbers.values()
        ]
        traces = [vars(each) for each in tables if hasattr(each, "messages")]
        return json.dumps(
            [held, artifacts, tables, traces, module.__dict__.get("config")], default=str
        )

    log_sweep(output, logger_options(**{package: ["project=p"]}))
    assert len(module.RUNS) == len(NAMES) + 1
    assert SECRET not in everything() and "w57" not in everything()
    log_sweep(output, logger_options(**{package: ["project=p"]}, samples=True))
    assert len(module.RUNS) == 2 * (len(NAMES) + 1)
    assert everything().count(SECRET) >= 4 * len(CUTS)


def test_a_trace_is_one_run(stand_in: StandIn, tmp_path: Path) -> None:
    def rows(high: float) -> list[dict[str, Any]]:
        return [
            {"layer": k, "mean": high / (k + 1), "median": 0.5, "q25": 0.25, "q75": 0.75}
            for k in range(4)
        ]

    task = {"layers": rows(1.0), "models": {"full": rows(1.0), "base": rows(0.5)}, "candidate": 2}
    found = {"signature": "s", "settings": {"peft": "adapter"}, "tasks": {"t": task}}
    wandb = stand_in("wandb")
    for _ in range(2):  # nothing is logged twice
        log_trace(tmp_path, found, logger_options(None, ["project=p"]))
    (run,) = wandb.RUNS
    assert run.arguments["name"] == run.arguments["job_type"] == "trace"
    assert run.config["candidates"] == {"t": 2}
    assert [step for step, _ in run.logged] == [0, 1, 2, 3]
    for step, numbers in run.logged:
        for model, high in (("full", 1.0), ("base", 0.5)):
            assert numbers[f"t/{model}/mean"] == high / (step + 1)
            assert numbers[f"t/{model}/q25"] == 0.25


def test_a_failure_keeps_what_is_logged_and_the_rest_follows(
    stand_in: StandIn, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb = stand_in("wandb")
    wandb.fails_at = 3
    options = logger_options(None, ["project=p"])
    log_sweep(output, options)
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.getMessage().startswith(
        "warning: W&B: not everything was logged (no connection); the results are in"
    )
    assert (output / "sweep.json").exists() and wandb.run is None
    wandb.fails_at = None
    for _ in range(2):  # the second time, nothing is left
        log_sweep(output, options)
    assert [run.arguments["name"] for run in wandb.RUNS] == [*NAMES, "sweep"]


LOGGED = {
    "generate_until": (
        [("w1 w2", {"until": ["\n"]})],
        [["True"]],
        ["1.0"],  # texts that look like numbers
    ),
    "multiple_choice": (
        [("w1", " w2"), ("w1", " w3")],
        [[(-1.5, False)], [(-0.25, True)]],
        [(-1.5, False), (-0.25, True)],
    ),
    "loglikelihood": ([("w1", " w2")], [[(-2.5, True)]], [(-2.5, True)]),
    "loglikelihood_rolling": ([("w1 w2",)], [[-7.5]], [-7.5]),
}


@pytest.mark.parametrize("output_type", LOGGED)
def test_samples_from_disk_make_the_table_that_those_in_memory_make(
    output_type: str, stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in("wandb")
    from lm_eval.loggers import WandbLogger

    arguments, responses, filtered = LOGGED[output_type]
    sample = {
        "doc_id": 7,
        "doc": {"text": "w1"},
        "target": "1",
        "arguments": arguments,
        "resps": responses,
        "filtered_resps": filtered,
        "filter": "none",
        "metrics": ["acc"],
        "acc": 0.5,
        **dict.fromkeys(("doc_hash", "prompt_hash", "target_hash"), "0"),
    }
    config = {"output_type": output_type, "metric_list": [{"metric": "acc"}]}
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.general_config_tracker.model_name_sanitized = "boundary=1"
    samples = {"some_task": [sample]}
    tracker.save_results_aggregated({"results": {}, "configs": {"some_task": config}}, samples)
    before = copy.deepcopy(samples["some_task"])
    tracker.save_results_samples("some_task", samples["some_task"])
    read = Evaluated("boundary=1", tmp_path / "boundary=1", "cut").samples()
    logger = WandbLogger({"name": "x"})
    table = logger._generate_dataset(read["some_task"], config)
    assert table.to_dict() == logger._generate_dataset(before, config).to_dict()
