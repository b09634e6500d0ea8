"""What is said about a user's own rows before a run, with the first prompt and its gold answer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM

from ..provenance.facts import quoted
from ..provenance.notes import Note, unknown_rows
from ..settings import EvaluationSettings
from .metric import suits
from .request import OwnData, OwnTasks

logger = logging.getLogger("lm_eval.lora_boundary")

_LINES, _WIDTH = 30, 200  # of a prompt


def own_tasks(
    own: OwnData,
    lm: HFLM,
    settings: EvaluationSettings,
    others: Any = None,
    *,
    shows: bool = True,
) -> OwnTasks:
    """Make the task from rows, and log how they are used, and the first prompt.

    Args:
        own: The rows.
        lm: The model, for its tokenizer.
        settings: The run; with ``no_texts``, neither prompt nor gold answer is shown.
        others: lm-eval's ``TaskManager``; None if no other tasks are needed.
        shows: Whether to log anything.

    Raises:
        TaskError: A system turn would be left out of the prompt.
        ModelError: The prompts need a chat template and the tokenizer has none.
    """
    tasks = OwnTasks(own, lm, others)
    if shows:
        _show(own, tasks.task(), lm, settings)
    return tasks


def _show(own: OwnData, task: Any, lm: HFLM, settings: EvaluationSettings) -> None:
    """Log how rows are used, and the first prompt as the model reads it."""
    for note in notes(own):
        logger.info("note: %s", note["text"])
    logger.info("%s: %s", Path(own.rows.path).name, _counts(own))
    options = task.config.generation_kwargs | settings.generation
    until = options["until"]
    stops = [*map(quoted, [until] if isinstance(until, str) else until), "the EOS token"]
    logger.info(
        "%s; responses end at %s, or after %d tokens",
        *(_metrics(own), " or ".join(stops), options["max_gen_toks"]),
    )
    if settings.no_texts:
        return
    split = settings.split or "validation"
    document = task.dataset.get(split, task.eval_docs)[0]
    prompt = task.fewshot_context(
        document,
        num_fewshot=0,
        system_instruction=settings.system_instruction,
        apply_chat_template=own.chat,
        chat_template=lm.apply_chat_template if own.chat else None,
    )
    logger.info("the first prompt, %s chat template:", "with the" if own.chat else "without a")
    for line in _shortened(prompt):
        logger.info("  | %s", line)
    logger.info("and its gold answer: %s", quoted(document["target"], _WIDTH))


def notes(own: OwnData | None) -> list[Note]:
    """Return the notes about rows."""
    if own is None or own.known:
        return []
    return [unknown_rows(Path(own.rows.path).name)]


def _counts(own: OwnData) -> str:
    """Return how many rows there are, and where they are used."""
    parts = [f"{len(rows)} in {split}" for split, rows in own.splits.items() if rows]
    how = "as the file says" if own.rows.have_splits else "by a hash of the prompt"
    left_out = f"; {own.left_out} that the adapter was trained on are left out"
    return (
        f"{len(own.rows.rows)} rows, {', '.join(parts)} ({how}){left_out if own.left_out else ''}"
    )


def _metrics(own: OwnData) -> str:
    first, *others = [function.__name__ for function in own.metrics]
    suited, why = suits([row.gold for row in own.rows.rows])
    reason = f" ({why})" if first == suited else ""
    return f"metric {first}{reason}, also {', '.join(others)}" if others else f"metric {first}"


def _shortened(prompt: str) -> list[str]:
    """Return the lines of a prompt, without the middle of a long one."""
    lines = prompt.split("\n")
    if len(lines) > _LINES:
        half = _LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
    return [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…" for line in lines]
