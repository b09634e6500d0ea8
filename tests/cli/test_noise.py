"""What libraries say and nobody can act on is not printed; everything else is."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lm_eval.evaluator
import pytest

from lm_eval_lora_boundary.cli.noise import hide_noise
from lm_eval_lora_boundary.upstream.lm_eval import quiet_git

LOGGERS = ("lm_eval.api.task", "lm_eval.evaluator", "huggingface_hub.utils._http")


@pytest.fixture(autouse=True)
def filters() -> Iterator[None]:
    before = {name: list(logging.getLogger(name).filters) for name in LOGGERS}
    hide_noise()
    yield
    for name, kept in before.items():
        logging.getLogger(name).filters[:] = kept


def said(caplog: pytest.LogCaptureFixture, name: str, *messages: str) -> list[str]:
    caplog.clear()
    for message in messages:
        logging.getLogger(name).warning(message)
    return caplog.messages


def test_messages_of_lm_eval(caplog: pytest.LogCaptureFixture) -> None:
    noise = "demo: Custom kwargs can be passed to `--metadata` in console (as json string)"
    assert said(caplog, "lm_eval.api.task", noise, "demo: no filter") == ["demo: no filter"]
    noise = "generation_kwargs: {} specified through cli, these settings will update …"
    assert said(caplog, "lm_eval.evaluator", noise, "other") == ["other"]


def test_the_hub_that_does_not_answer_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    several = ["'[Errno -2]' thrown while requesting HEAD", "Retrying in 1s [Retry 1/5]."] * 5
    found = said(caplog, "huggingface_hub.utils._http", *several)
    assert found == ["the model hub does not answer; trying again"]


def test_git_complains_only_where_there_is_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    theirs = lm_eval.evaluator.get_git_commit_hash
    assert theirs() is None  # and says so
    assert "not a git repository" in capfd.readouterr().err
    with quiet_git():
        assert lm_eval.evaluator.get_git_commit_hash() is None
    assert capfd.readouterr().err == ""
    assert lm_eval.evaluator.get_git_commit_hash is theirs
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@b.c")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    with quiet_git():
        assert lm_eval.evaluator.get_git_commit_hash() == theirs() != None  # noqa: E711
