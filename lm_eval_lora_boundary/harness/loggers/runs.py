"""Log results to W&B and trackio: one run for each evaluation, and one with the scores over K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval.loggers import WandbLogger

from ...upstream.loggers import name_metrics, trackio_logger
from .evaluations import Evaluated
from .options import LoggerOptions


@dataclass(frozen=True)
class Curves:
    """Numbers over steps, such as a score over the number of layers that are kept.

    Attributes:
        name: Name of their run.
        steps: Each step, and its numbers by name.
        facts: What the run shows besides.
    """

    name: str
    steps: Sequence[tuple[int, Mapping[str, float]]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Wandb:
    """Makes runs in W&B, in one group."""

    target, called = "wandb", "W&B"

    def __init__(self, options: LoggerOptions, group: str) -> None:
        """Take the arguments; ``group`` is the name if none is given."""
        self.arguments = dict(options.wandb or {})
        self.config = dict(options.wandb_config)
        self.group = str(self.arguments.get("group") or self.arguments.get("name") or group)

    def run(self, name: str, kind: str, facts: Mapping[str, Any]) -> Any:
        """Start a run, and return lm-eval's logger for it."""
        arguments = {"job_type": kind, "settings": {"silent": True}, **self.arguments}
        arguments |= {"group": self.group, "name": _name(self.arguments.get("name"), name)}
        return WandbLogger(arguments, {**facts, **self.config})

    def finish(self, logger: Any) -> str | None:
        """End a run, and return where it can be seen."""
        offline = getattr(logger.run, "offline", False)  # where there is no address
        address: str | None = None if offline else getattr(logger.run, "url", None)
        logger.run.finish()
        return address


class Trackio:
    """Makes runs in trackio, in one group."""

    target, called = "trackio", "trackio"

    def __init__(self, options: LoggerOptions, group: str) -> None:
        """Take the arguments; ``group`` is the name if none is given."""
        self.arguments = dict(options.trackio or {})
        self.config = dict(self.arguments.get("config") or {})
        self.group = str(self.arguments.get("group") or self.arguments.get("name") or group)

    def run(self, name: str, kind: str, facts: Mapping[str, Any]) -> Any:
        """Start a run, and return lm-eval's logger for it."""
        # trackio has no kinds of runs, and knows runs of a project by their names
        config = {"job_type": kind, **facts, **self.config}
        called = _name(self.arguments.get("name") or self.group, name)
        named = {"group": self.group, "config": config, "name": called}
        return trackio_logger()({**self.arguments, **named})

    def finish(self, logger: Any) -> str | None:
        """End a run."""
        logger.finish()
        return None


Target = Wandb | Trackio


def _name(prefix: object, name: str) -> str:
    return f"{prefix} {name}" if prefix else name


def log_evaluation(target: Target, evaluation: Evaluated, *, samples: bool) -> None:
    """Log what lm-eval wrote about a cut, as lm-eval would have logged it.

    Raises:
        Exception: Anything that lm-eval's logger and what is behind it have to say.
    """
    results = evaluation.results(with_texts=samples)
    asked = results.get("config", {})
    facts = {name: asked[name] for name in ("cut", "boundary") if asked.get(name) is not None}
    logger = target.run(evaluation.name, evaluation.kind, facts)
    try:
        logger.post_init(results)
        logger.log_eval_result()
        if samples:
            logged = evaluation.samples()
            name_metrics(logger, logged)
            logger.log_eval_samples(logged)
    finally:
        target.finish(logger)


def log_curves(target: Target, curves: Curves) -> str | None:
    """Log numbers over steps as one run, and return where it can be seen.

    Raises:
        Exception: Anything that lm-eval's logger and what is behind it have to say.
    """
    logger = target.run(curves.name, curves.name, curves.facts)
    address = None
    try:
        for step, numbers in curves.steps:
            logger.run.log(dict(numbers), step=step)
    finally:
        address = target.finish(logger)
    return address
