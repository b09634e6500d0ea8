"""Hand results to the loggers that were asked for. Whatever fails there, results stay on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ...errors import LoraBoundaryError, first_line
from ...upstream.lm_eval import sanitize_model_name
from .evaluations import Evaluated
from .hub import push
from .options import LoggerOptions
from .record import Record, identified
from .runs import Curves, Target, Trackio, Wandb, log_curves, log_evaluation

logger = logging.getLogger("lm_eval.lora_boundary")


def log_run(
    output: Path,
    options: LoggerOptions,
    *,
    peft: str,
    signature: str,
    curves: Curves,
    evaluations: Sequence[Evaluated],
) -> None:
    """Log what a run has written, and say where it is; a failure is one warning.

    What has been logged with these options is not logged again.

    Args:
        output: The output folder.
        options: Where it goes.
        peft: The adapter, which names the folders on the hub.
        signature: What was run.
        curves: Numbers over steps, for W&B and trackio.
        evaluations: What lm-eval wrote.

    Raises:
        OutputError: The output folder cannot be read or written.
    """
    for called, log in _targets(output, options, _model(peft), signature, curves, evaluations):
        try:
            logger.info("%s: %s", called, log())
        except LoraBoundaryError:
            raise
        except Exception as error:  # noqa: BLE001 - it may raise anything, and results are safe
            reason = first_line(error) or type(error).__name__
            if token := options.hub.get("token"):
                reason = reason.replace(token, "…")
            logger.warning(
                "warning: %s: not everything was logged (%s); the results are in %s, and the same "
                "command logs the rest without scoring again",
                *(called, reason, output),
            )


def _targets(
    output: Path,
    options: LoggerOptions,
    model: str,
    signature: str,
    curves: Curves,
    evaluations: Sequence[Evaluated],
) -> Iterator[tuple[str, Callable[[], str]]]:
    if options.hub:
        record = Record(output, "hub", options.hub, signature)
        yield "the hub", partial(_push, options, model, evaluations, record)
    group = output.resolve().name
    targets: list[Target] = []
    if options.wandb is not None:
        targets.append(Wandb(options, group))
    if options.trackio is not None:
        targets.append(Trackio(options, group))
    for target in targets:
        how = {"given": [target.arguments, target.config], "samples": options.samples}
        record = Record(output, target.target, how, signature)
        yield (
            target.called,
            partial(_log, target, evaluations, curves, record, samples=options.samples),
        )


def _push(
    options: LoggerOptions, model: str, evaluations: Sequence[Evaluated], record: Record
) -> str:
    missing = _missing(evaluations, record)
    if not missing:
        return "everything was pushed before"
    repositories = push(options.hub, model, [*missing.values()])
    record.add(*missing)
    return f"pushed {len(missing)} results to {' and '.join(repositories)}"


def _log(
    target: Target,
    evaluations: Sequence[Evaluated],
    curves: Curves,
    record: Record,
    *,
    samples: bool,
) -> str:
    missing = _missing(evaluations, record)
    drawn = identified(curves.name, [curves.steps, curves.facts])
    if not missing and drawn in record:
        return "everything was logged before"
    count = "1 run" if not missing else f"{len(missing) + 1} runs"
    logger.info("%s: logging %s …", target.called, count)
    for name, evaluation in missing.items():
        log_evaluation(target, evaluation, samples=samples)
        record.add(name)
    address = log_curves(target, curves)
    record.add(drawn)
    where = f": {address}" if address else ""
    return f"logged {count} in the group {target.group}{where}"


def _missing(evaluations: Sequence[Evaluated], record: Record) -> dict[str, Evaluated]:
    """Return the evaluations that have not been logged, by the names that the record knows."""
    named = {
        identified(each.name, each.results(with_texts=False).get("results")): each
        for each in evaluations
    }
    return {name: each for name, each in named.items() if name not in record}


def _model(peft: str) -> str:
    """Return the adapter as part of a path; lm-eval would show where a local folder lies."""
    folder = Path(peft).expanduser()
    return str(sanitize_model_name(folder.resolve().name if folder.is_dir() else peft))
