"""What the options of the loggers refuse, before anything is scored."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from lm_eval import loggers
from lm_eval.loggers import EvaluationTracker

from lm_eval_lora_boundary import errors
from lm_eval_lora_boundary.harness.loggers.options import logger_options
from lm_eval_lora_boundary.upstream.loggers import hub_arguments, run_arguments

StandIn = Callable[[str], Any]


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run a sweep that would not get far, and return its one line."""
    common = ("--peft", "nowhere/adapter", "--tasks", "t", "--output", str(tmp_path / "out"))
    done = command_line("sweep", *common, *arguments)
    assert done.code == 2 and not done.out and not (tmp_path / "out").exists()
    (line,) = done.err.splitlines()
    return line.removeprefix("lora-boundary: error: ")


def test_the_arguments_are_those_of_the_functions(stand_in: StandIn) -> None:
    known = inspect.signature(EvaluationTracker).parameters
    assert hub_arguments() == {
        name: each.default for name, each in known.items() if name != "output_path"
    }
    for package in ("wandb", "trackio"):
        init = inspect.signature(stand_in(package).init).parameters
        assert run_arguments(package).keys() == {"step", *init}


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_package_that_is_missing(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    assert refused(tmp_path, f"--{package}_args", "project=p") == (
        f"--{package}-args needs {package}; install it with: "
        f"pip install 'lm-eval-lora-boundary[{package}]', or leave it out"
    )


def test_a_folder_with_the_name_of_a_package_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_by_a_run").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.MissingPackageError, match="needs made_by_a_run"):
        errors.require_package("made_by_a_run", extra="x", what="this test")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--wandb_args", "projct=p"), "--wandb-args: unknown projct; expected some of group,"),
        (("--trackio_args", "nme=p"), "--trackio-args: unknown nme; expected some of config,"),
        (("--hf_hub_log_args", "a=1"), "--hf-hub-log-args: unknown a; expected some of details_"),
        (("--hf_hub_log_args", "output_path=x"), "--hf-hub-log-args: unknown output_path;"),
        (("--hf_hub_log_args", "push_samples_to_hub=no"), "push_samples_to_hub=no: expected True"),
        (("--hf_hub_log_args", "public_repo=True"), "does not say what to push; add push_results_"),
        (("--wandb_args", "id=1"), "--wandb-args id=1: a sweep logs several runs, which"),
        (("--wandb_config_args", "a=1"), "--wandb-config-args is given without --wandb-args"),
        (("--wandb_args", "project={"), "--wandb-args project={: lm_eval cannot read this"),
        (
            ("--wandb_args", "project=p", "--log_samples", "--no-texts"),
            "--log-samples and --no-texts are both given",
        ),
        (
            ("--wandb_args", "x=1", "--hf_hub_log_args", "push_results_to_hub=True,token=hf_x"),
            "--wandb-args: unknown x",
        ),
        (
            (
                *("--wandb_args", "name=x"),
                "--hf_hub_log_args",
                "push_results_to_hub=True,token=hf_x",
            ),
            "--hf-hub-log-args token=… and --wandb-args are both given, and W&B records",
        ),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], expected: str, stand_in: StandIn, tmp_path: Path
) -> None:
    line = refused(tmp_path, *arguments)
    assert expected in line and "hf_x" not in line


def test_trackio_where_lm_eval_has_a_logger_for_it_and_where_not(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ("--wandb_args", "name=x", "--trackio_args", "server_url=http://h?write_token=s")
    monkeypatch.setattr(loggers, "TrackioLogger", object, raising=False)
    line = refused(tmp_path, *secret)
    assert "write_token=… and --wandb-args are both given, and W&B records" in line
    monkeypatch.delattr(loggers, "TrackioLogger")
    line = refused(tmp_path, "--trackio_args", "project=p")
    assert line.startswith("--trackio-args: the lm-eval that is installed (")


def test_without_a_token_or_a_key(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert refused(tmp_path, "--hf_hub_log_args", "push_results_to_hub=True") == (
        "--hf-hub-log-args needs a token of the model hub that may write; run hf auth login, or "
        "set the environment variable HF_TOKEN"
    )
    stand_in("wandb").has_key = False
    assert refused(tmp_path, "--wandb_args", "project=p") == (
        "--wandb-args: W&B has no API key (No API key configured.); run wandb login, set "
        "WANDB_API_KEY, or add mode=offline"
    )
    assert logger_options(None, ["mode=offline"]).wandb == {"mode": "offline"}


def test_nothing_is_asked_for_what_is_not_pushed() -> None:
    assert not logger_options()
    assert not logger_options(["push_results_to_hub=False"])  # needs no token either
    assert not logger_options(samples=True, no_texts=True)  # samples are always on disk


def test_a_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    options = logger_options(["push_results_to_hub=True,token=hf_secret"])
    assert options.hub["token"] == "hf_secret" and "secret" not in repr(options)
