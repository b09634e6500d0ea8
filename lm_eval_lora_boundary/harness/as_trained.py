"""The prompt that an adapter knows: what the user does not say is as in its training."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TaskError
from . import processes
from .own_data.splits import OwnRows, read_rows
from .settings import as_names
from .training_record import TrainingRecord, read_training

logger = logging.getLogger("lm_eval.lora_boundary")

_NAME = re.compile(r"[\w.,:+-]+")  # of a task; a path would be a file, which may run code


def prompt_settings(
    peft: str,
    model_args: str | Sequence[str] | Mapping[str, Any] | None,
    *,
    tasks: str | Sequence[str] | None = None,
    data: str | None = None,
    include_path: str | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool | str | None = None,
    no_template: bool = False,
    system_instruction: str | None = None,
) -> dict[str, Any]:
    """Return what decides the prompts, taken from ``training.json`` where it is not given.

    Args:
        peft: The adapter.
        model_args: Arguments of lm-eval's model, with ``peft_revision``, as text or read.
        tasks: Names of tasks, as a list or as text with commas.
        data: The user's own rows, in place of tasks.
        include_path: Folder with more tasks; never taken from the file, since tasks run code.
        num_fewshot: Number of examples; taken from the file if the task is that of the training.
        apply_chat_template: Whether to use the chat template; rows that are chats need it.
        no_template: Do not use it, whatever the file says.
        system_instruction: System message.

    Raises:
        TaskError: Two settings contradict each other, or there are no tasks and no data, and the
            file names none.
    """
    if apply_chat_template and no_template:
        raise TaskError("--apply-chat-template and --no-template are both given; give one of them")
    if no_template:
        apply_chat_template = False
    record = read_training(peft, model_args)
    taken: list[str] = []
    tasks = as_names(tasks or ())
    if tasks and data is not None:
        raise TaskError(f"tasks={','.join(tasks)} and data={data} are both given; give one of them")
    if not tasks and data is None:
        tasks, data = _as_trained(record, peft, include_path)
        taken.append(f"data {data}" if data is not None else f"task {tasks[0]}")
    rows = None if data is None else read_rows(data)
    if record is not None:
        same = rows is not None or list(tasks) == [record.task]
        if num_fewshot is None and same and rows is None and record.num_fewshot is not None:
            num_fewshot = record.num_fewshot
            taken.append(f"{num_fewshot} few-shot examples")
        if system_instruction is None and record.system_instruction and not _has_system(rows):
            system_instruction = record.system_instruction
            taken.append("the system message")
    left_out = apply_chat_template is False and record is not None and bool(record.chat)
    if apply_chat_template is None:
        if rows is not None and rows.are_chats:
            apply_chat_template = True
        elif record is not None and record.chat is not None:
            apply_chat_template = record.chat
            taken.append("a chat template" if record.chat else "no chat template")
    if taken and record is not None and processes.rank() == 0:
        logger.info("as in %s: %s", record.path, ", ".join(taken))
    return {
        "tasks": tuple(tasks),
        "data": data,
        "include_path": include_path,
        "num_fewshot": num_fewshot,
        "apply_chat_template": bool(apply_chat_template)
        if not isinstance(apply_chat_template, str)
        else apply_chat_template,
        "no_template": left_out,
        "system_instruction": system_instruction,
    }


def _as_trained(
    record: TrainingRecord | None, peft: str, include_path: str | None
) -> tuple[Sequence[str], str | None]:
    """Return the task or the data of the training."""
    if record is None or (record.task is None and record.data is None):
        raise TaskError(
            f"neither tasks nor data is given, and {peft} has no training.json that names them; "
            "give --tasks TASK, or --data FILE with your own rows"
        )
    if record.data is not None:
        if not Path(record.data).expanduser().exists():
            raise TaskError(
                f"neither tasks nor data is given, and {record.data}, which {record.path} names, "
                "does not exist; give --data FILE"
            )
        return (), record.data
    task = record.task or ""
    if record.include_path is not None and include_path is None:
        raise TaskError(
            f"no task is given, and {record.path} names {task} of the folder "
            f"{record.include_path}, whose code may run; to allow that, give --include-path "
            f"{record.include_path}"
        )
    if not _NAME.fullmatch(task):
        raise TaskError(f"no task is given, and {record.path} names no lm-eval task; give --tasks")
    return (task,), None


def _has_system(rows: OwnRows | None) -> bool:
    return rows is not None and any(row.has_system_turn for row in rows.rows)
