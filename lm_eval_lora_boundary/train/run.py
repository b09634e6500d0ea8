"""Supervised LoRA fine-tuning on the prompts and targets of an lm-eval task.

Training prompts are the same as evaluation prompts (:mod:`lm_eval_lora_boundary.harness.prompts`),
and the loss is on the answer only. The trainer is TRL's; for the defaults see :mod:`.settings`.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.api.task import Task
from peft import PeftModel
from transformers import set_seed

from ..cuts.adapter_folder import open_adapter
from ..errors import ModelError
from ..harness import processes
from ..harness.memory import out_of_memory
from ..harness.model_info import versions
from ..harness.own_data.request import OwnTasks, data_to_train
from ..harness.prompts import Prompts
from .data import Rows, build_rows, load_task
from .loop import AfterEpochs, close_bar, make_trainer, training_results
from .model import add_lora, base_identity, load_base
from .run_folder import RunFolder
from .save import save_adapter
from .settings import TrainSettings
from .trainer import Trainer

# lm-eval's command line only shows loggers below "lm_eval"
logger = logging.getLogger("lm_eval.lora_boundary")


def train(settings: TrainSettings, output: str | Path, *, command: str | None = None) -> Path:
    """Train a LoRA adapter on the prompts of a task and save it.

    After an interruption, the same call resumes from the last checkpoint and gives the same
    adapter. After a finished run, it does nothing.

    Args:
        settings: Settings of the run.
        output: Folder for the adapter, ``training.json`` and, until the end, the checkpoints.
        command: Command line to record; None for a Python call.

    Returns:
        The adapter folder.

    Raises:
        TaskError: The task is unknown or cannot be trained on.
        BoundaryError: The boundary is out of range or leaves nothing to train.
        ModelError: The base model cannot be loaded or is not a decoder-only model; or memory runs
            out, or the loss is no number any more.
        AdapterError: A target module does not exist or cannot be adapted.
        OutputError: The folder holds another run or other files, or cannot be written.
        LoraBoundaryError: Several processes were started.
    """
    # On a CPU, the trainer goes by WORLD_SIZE alone.
    processes.refuse_several("train", processes.world_size())
    folder = RunFolder(output, settings.as_json())
    if folder.finished:
        logger.info("%s is already finished; nothing to do", folder.path)
        return folder.path
    with closing(folder):
        _run(settings, folder, command or f"train({settings!r}, {str(output)!r})")
    return folder.path


def _run(settings: TrainSettings, folder: RunFolder, command: str) -> None:
    own, task = None, None
    if settings.data is not None:
        own = data_to_train(
            settings.data,
            chat=settings.apply_chat_template,
            system_instruction=settings.system_instruction,
        )
    else:
        assert settings.task is not None
        task = load_task(settings.task, settings.include_path)
    base = load_base(settings)
    if own is not None:
        task = OwnTasks(own, base).task()
    assert task is not None
    prompts = Prompts(
        task,
        base,
        num_fewshot=settings.num_fewshot,
        system_instruction=settings.system_instruction,
        apply_chat_template=settings.apply_chat_template,
        seed=settings.seed,
    )
    max_length = min(settings.max_length, base.max_length)
    rows = build_rows(prompts, task.training_docs(), max_length, settings.limit)
    _log_rows(rows, max_length)
    set_seed(settings.seed)
    identity = base_identity(base, settings)  # before LoRA adds tensors
    model = add_lora(base.model, settings)
    checkpoint = folder.begin(
        {
            "command": command,
            "settings": settings.as_json(),
            "base": identity,
            "task": _task_identity(task, prompts, max_length),
            **({} if own is None else {"data": own.trained_on(settings.limit)}),
            "rows": rows.summary(),
            "lora": _lora_summary(model),
            "versions": versions("trl"),
        }
    )
    trainer = make_trainer(model, base, rows, settings, folder.checkpoints)
    if settings.save_epochs:
        save = partial(save_adapter, model, settings)
        trainer.add_callback(AfterEpochs(partial(folder.write_epoch, save)))
    _train(trainer, checkpoint, settings)
    save_adapter(model, settings, folder.path)
    results = training_results(trainer, rows, settings, checkpoint)
    folder.finish(results | {"adapter_sha256": open_adapter(folder.path).sha256})
    logger.info(
        "%s: %d steps, loss %.3f -> %.3f, %.0f tokens/s",
        folder.path,
        results["steps"],
        results["first_loss"],
        results["final_loss"],
        results["tokens_per_second"],
    )


def _train(trainer: Trainer, checkpoint: Path | None, settings: TrainSettings) -> None:
    """Train to the end, and say how far it got if it does not get there."""
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory with {settings.micro} documents in a forward pass; give a smaller "
            "--micro-batch-size or --max-length, and another --output"
        ) from error
    except KeyboardInterrupt as interrupt:
        step, steps, every = trainer.state.global_step, trainer.state.max_steps, settings.save_steps
        raise KeyboardInterrupt(
            f"after step {step} of {steps}; checkpoints are written every {every} steps"
        ) from interrupt
    finally:
        close_bar(trainer)  # an error is printed below it, and not beside it


def _log_rows(rows: Rows, max_length: int) -> None:
    summary = rows.summary()
    notes = {
        "documents without a target left out": summary["dropped_empty_target"],
        f"documents too long for {max_length} tokens left out": summary["dropped_too_long"],
        "prompts truncated on the left": summary["truncated_prompts"],
    }
    details = "".join(f"; {count} {note}" for note, count in notes.items() if count)
    logger.info("training on %d rows (%d tokens)%s", summary["used"], summary["tokens"], details)


def _lora_summary(model: PeftModel) -> dict[str, Any]:
    config = model.peft_config["default"]
    parameters, _ = model.get_nb_trainable_parameters()
    return {"target_modules": sorted(config.target_modules), "parameters": parameters}


def _task_identity(task: Task, prompts: Prompts, max_length: int) -> dict[str, Any]:
    """Return what determines the prompts of a task."""
    names = (
        *("task", "dataset_path", "dataset_name", "training_split", "process_docs"),
        *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"),
        *("target_delimiter", "fewshot_delimiter", "fewshot_split", "generation_kwargs"),
    )
    config = task.dump_config()
    used = {name: config[name] for name in names if name in config}
    identity: dict[str, Any] = json.loads(json.dumps(used, default=str))
    return identity | {
        "version": task.VERSION,
        "num_fewshot": prompts.num_fewshot,
        "ending": prompts.ending,
        "max_length": max_length,
    }
