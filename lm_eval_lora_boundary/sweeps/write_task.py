"""``--write-task``: the task made from a user's own rows, as a folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import TaskError
from ..harness import processes
from ..harness.own_data.request import own_data
from ..harness.own_data.shown import own_tasks
from ..harness.own_data.write import write_task
from .engines import load_model
from .settings import SweepSettings


def write(settings: SweepSettings, folder: Path) -> str:
    """Write the task that a sweep would use; return the command that runs it, as text.

    Raises:
        TaskError: There are no rows.
        OutputError: The folder cannot be written.
    """
    processes.refuse_several("sweep --write-task")
    own = own_data(settings)
    if own is None:
        raise TaskError("write_task writes the task made from data; give --data FILE")
    lm = load_model(settings)
    own_tasks(own, lm, settings)
    config = own.config(lm)
    config["generation_kwargs"] |= settings.generation
    path = write_task(folder, own, config, settings.metric)
    options = ["lm_eval", "--model", settings.model, "--model_args"]
    options.append(",".join(f"{k}={v}" for k, v in settings.model_arguments().items()))
    options += ["--include_path", str(folder), "--tasks", own.name]
    if own.chat:
        options.append("--apply_chat_template")
    if settings.system_instruction is not None:
        options += ["--system_instruction", settings.system_instruction]
    return f"{path}\n{shlex.join(options)}"
