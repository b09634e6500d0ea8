"""Where results go besides the output folder: options as lm-eval spells them.

They decide no result, so they are no settings: no file of a run holds them, nor does its signature.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from ...errors import LoraBoundaryError, require_package
from .. import processes
from ..key_values import read_key_values

HUB, WANDB, TRACKIO = "--hf-hub-log-args", "--wandb-args", "--trackio-args"
WANDB_CONFIG = "--wandb-config-args"
PUSH_RESULTS, PUSH_SAMPLES = "push_results_to_hub", "push_samples_to_hub"
_RECORDED = (
    f"{{}} and {WANDB} are both given, and W&B records the command line; give the token in the "
    "environment variable {}"
)
Texts = Sequence[str] | None  # what an option was given, once for each time


@dataclass(frozen=True)
class LoggerOptions:
    """Where results go, and what of them.

    Attributes:
        hub: Arguments of lm-eval's ``EvaluationTracker``, with a token; empty for nothing.
        wandb: Arguments of ``wandb.init``; None for no W&B.
        wandb_config: What W&B's config of each run holds besides.
        trackio: Arguments of ``trackio.init``; None for no trackio.
        samples: Whether W&B and trackio get the samples, too.
    """

    hub: Mapping[str, Any] = field(default_factory=dict, repr=False)
    wandb: Mapping[str, Any] | None = field(default=None, repr=False)
    wandb_config: Mapping[str, Any] = field(default_factory=dict)
    trackio: Mapping[str, Any] | None = field(default=None, repr=False)
    samples: bool = False

    def __bool__(self) -> bool:
        """Return whether results go anywhere."""
        return bool(self.hub) or self.wandb is not None or self.trackio is not None


def logger_options(
    hub: Texts = None,
    wandb: Texts = None,
    wandb_config: Texts = None,
    trackio: Texts = None,
    *,
    samples: bool = False,
    no_texts: bool = False,
) -> LoggerOptions:
    """Return options that were given, after looking for everything that they need.

    Args:
        hub: What ``--hf-hub-log-args`` was given.
        wandb: What ``--wandb-args`` was given.
        wandb_config: What ``--wandb-config-args`` was given.
        trackio: What ``--trackio-args`` was given.
        samples: Whether ``--log-samples`` was given.
        no_texts: Whether no text of a sample may leave the machine.

    Raises:
        MissingPackageError: A package is missing.
        LoraBoundaryError: An option cannot be read or used, or there is no token for the hub.
    """
    if wandb_config and not wandb:
        raise LoraBoundaryError(
            f"{WANDB_CONFIG} is given without {WANDB}; add {WANDB} project=NAME, or leave it out"
        )
    if not (hub or wandb or trackio):
        return LoggerOptions()
    if samples and no_texts and (wandb or trackio):
        raise LoraBoundaryError(
            "--log-samples and --no-texts are both given, and samples are logged with their texts; "
            "leave out one of them"
        )
    for option, texts, package in ((WANDB, wandb, "wandb"), (TRACKIO, trackio, "trackio")):
        if texts:
            require_package(package, extra=package, what=option, otherwise="leave it out")
    runs = {
        "wandb": _run_arguments(wandb, WANDB, "wandb") if wandb else None,
        "trackio": _run_arguments(trackio, TRACKIO, "trackio") if trackio else None,
    }
    if trackio and _no_trackio_logger():
        raise LoraBoundaryError(
            f"{TRACKIO}: the lm-eval that is installed ({version('lm-eval')}) has no logger for "
            "trackio; leave it out"
        )
    if wandb and "write_token" in str((runs["trackio"] or {}).get("server_url")):
        raise LoraBoundaryError(
            _RECORDED.format(f"{TRACKIO} server_url=…?write_token=…", "TRACKIO_WRITE_TOKEN")
        )
    pushed = _hub_arguments(hub, with_wandb=bool(wandb)) if hub else {}
    config = read_key_values(wandb_config, WANDB_CONFIG)
    if runs["wandb"] is not None:
        _check_wandb(runs["wandb"])
    return LoggerOptions(pushed, runs["wandb"], config, runs["trackio"], samples)


def _no_trackio_logger() -> bool:
    from ...upstream.loggers import trackio_logger

    return trackio_logger() is None


def _run_arguments(texts: Texts, option: str, package: str) -> dict[str, Any]:
    from ...upstream.loggers import run_arguments

    given = read_key_values(texts, option)
    known = dict(run_arguments(package))
    if "id" in given and known.pop("id", ...) is not ...:
        raise LoraBoundaryError(
            f"{option} id={given['id']}: a sweep logs several runs, which cannot share an id; give "
            "group=NAME or name=NAME"
        )
    _check_names(given, known, option)
    return given


def _hub_arguments(texts: Texts, *, with_wandb: bool) -> dict[str, Any]:
    """Return arguments of ``EvaluationTracker``; none if they say that nothing is pushed."""
    from ...upstream.loggers import hub_arguments

    given = read_key_values(texts, HUB)
    known = hub_arguments()
    _check_names(given, known, HUB)
    for name, value in given.items():
        if isinstance(known[name], bool) and not isinstance(value, bool):
            raise LoraBoundaryError(f"{HUB} {name}={value}: expected True or False")
    if not given.keys() & {PUSH_RESULTS, PUSH_SAMPLES}:
        raise LoraBoundaryError(
            f"{HUB} does not say what to push; add {PUSH_RESULTS}=True, or {PUSH_SAMPLES}=True for "
            "the samples, too"
        )
    if not (given.get(PUSH_RESULTS) or given.get(PUSH_SAMPLES)):
        return {}
    if "token" in given and with_wandb:
        raise LoraBoundaryError(_RECORDED.format(f"{HUB} token=…", "HF_TOKEN"))
    from huggingface_hub import get_token

    token = given.get("token") or get_token()
    if not token:
        raise LoraBoundaryError(
            f"{HUB} needs a token of the model hub that may write; run hf auth login, or set the "
            "environment variable HF_TOKEN"
        )
    return given | {"token": str(token)}


def _check_names(given: Mapping[str, Any], known: Mapping[str, Any], option: str) -> None:
    if unknown := sorted(given.keys() - known.keys()):
        raise LoraBoundaryError(
            f"{option}: unknown {', '.join(unknown)}; expected some of {', '.join(sorted(known))}"
        )


def _check_wandb(arguments: Mapping[str, Any]) -> None:
    """Refuse to go on without an API key; in a terminal, W&B asks for it.

    Raises:
        LoraBoundaryError: There is none.
    """
    mode = arguments.get("mode") or os.environ.get("WANDB_MODE", "online")
    if mode in ("offline", "disabled", "dryrun") or processes.rank() != 0:
        return
    import wandb

    try:
        wandb.login(verify=False)
    except wandb.Error as error:
        raise LoraBoundaryError(
            f"{WANDB}: W&B has no API key ({str(error).splitlines()[0]}); run wandb login, set "
            "WANDB_API_KEY, or add mode=offline"
        ) from error
