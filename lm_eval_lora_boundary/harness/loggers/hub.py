"""Push results to a dataset repository of the hub, named and described as lm-eval does it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd
from lm_eval.loggers import EvaluationTracker

from ...errors import first_line
from .evaluations import Evaluated
from .options import PUSH_RESULTS, PUSH_SAMPLES

logger = logging.getLogger("lm_eval.lora_boundary")


def push(arguments: Mapping[str, Any], model: str, evaluations: Sequence[Evaluated]) -> list[str]:
    """Push evaluations.

    lm-eval's tracker makes a commit for each file, of which the hub takes 128 in an hour, and its
    names do not tell cuts apart. So it says which repository to use and writes its card, and the
    files come from the disk, in one commit for each repository.

    Args:
        arguments: Those of ``EvaluationTracker``.
        model: Name of the model. With a cut's it makes a folder, and the same one for results and
            samples.
        evaluations: The evaluations.

    Returns:
        The repositories that were pushed to.

    Raises:
        Exception: Anything that the hub or its client has to say.
    """
    tracker = EvaluationTracker(**arguments)
    tracker.general_config_tracker.model_name = model
    tracker.general_config_tracker.model_source = "lora_boundary"
    public = tracker.public_repo
    pushed = []
    samples = bool(arguments.get(PUSH_SAMPLES))
    if arguments.get(PUSH_RESULTS):
        repository = tracker.results_repo if public else tracker.results_repo_private
        files = _results(model, evaluations, with_texts=samples)
        _commit(tracker, repository, files, f"Add results of {model}")
        pushed.append(repository)
    if samples:
        repository = tracker.details_repo if public else tracker.details_repo_private
        files = _samples(model, evaluations)
        if repository not in pushed:  # lm-eval puts the results beside samples, too
            files |= _results(model, evaluations, with_texts=True)
        _commit(tracker, repository, files, f"Add samples of {model}", gated=tracker.gated_repo)
        pushed = [*dict.fromkeys([*pushed, repository])]
        _write_card(tracker, repository)
    return pushed


def _folder(model: str, evaluation: Evaluated) -> str:
    return f"{model}__{evaluation.name.replace('/', '__')}"


def _results(
    model: str, evaluations: Sequence[Evaluated], *, with_texts: bool
) -> dict[str, bytes | Path]:
    return {
        f"{_folder(model, each)}/{each.results_file.name}": each.as_uploaded(with_texts=with_texts)
        for each in evaluations
    }


def _samples(model: str, evaluations: Sequence[Evaluated]) -> dict[str, bytes | Path]:
    return {
        f"{_folder(model, each)}/{file.name}": file
        for each in evaluations
        for file in each.samples_files.values()
    }


def _commit(
    tracker: EvaluationTracker,
    repository: str,
    files: Mapping[str, bytes | Path],
    message: str,
    *,
    gated: bool = False,
) -> None:
    tracker.api.create_repo(
        repo_id=repository, repo_type="dataset", private=not tracker.public_repo, exist_ok=True
    )
    if gated:  # before there is anything to read
        tracker.api.update_repo_settings(repo_id=repository, repo_type="dataset", gated="auto")
    tracker.api.create_commit(
        repo_id=repository,
        repo_type="dataset",
        operations=[
            CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
            for path, content in files.items()
        ],
        commit_message=message,
    )


def _write_card(tracker: EvaluationTracker, repository: str) -> None:
    """Let lm-eval write its card, which needs the samples, and is only a description of them."""
    try:
        tracker.recreate_metadata_card()
    except Exception as error:  # noqa: BLE001 - it may raise anything, and everything is pushed
        logger.warning(
            "warning: %s: lm-eval could not write its dataset card (%s); the files are there",
            *(repository, first_line(error)),
        )
