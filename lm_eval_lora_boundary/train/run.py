"""Supervised LoRA fine-tuning on an lm-eval task's own prompts and targets.

What the model sees in training is what ``lm_eval`` will show it (:mod:`.prompts`); the loss
is on the answer only. The trainer is TRL's; defaults and their source are in
:mod:`.settings`.
"""

from __future__ import annotations

import json
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.task import Task
from peft import PeftModel
from transformers import set_seed

from ..cuts.adapter_folder import open_adapter
from ..errors import LoraBoundaryError
from ..harness.prompts import Prompts
from .data import Rows, build_rows, load_task
from .loop import make_trainer, results_of
from .model import add_lora, base_identity, load_base
from .run_folder import RunFolder
from .settings import TrainSettings

# lm-eval's command line shows the loggers below "lm_eval" only
logger = logging.getLogger("lm_eval.lora_boundary")


def train(settings: TrainSettings, output: str | Path, *, command: str | None = None) -> Path:
    """Train a LoRA adapter on a task's own prompts and save it.

    Interrupted, the same call resumes from the last checkpoint and gives the same adapter;
    finished, it does nothing.

    Args:
        settings: The run.
        output: Folder for adapter, record (``training.json``) and, meanwhile, checkpoints.
        command: Command line to record; None for a Python call.

    Returns:
        The adapter folder.

    Raises:
        TaskError: The task is unknown, or cannot be trained on.
        BoundaryError: The boundary is out of range, or trains nothing.
        ModelError: The base model cannot be loaded, or is no decoder-only model.
        AdapterError: The target modules are not in the model.
        OutputError: The folder holds something else, or another run.
        LoraBoundaryError: Several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LoraBoundaryError("training runs in one process; start it without a launcher")
    folder = RunFolder(output, settings.as_json())
    if folder.finished:
        logger.info("%s is finished already; nothing to do", folder.path)
        return folder.path
    task = load_task(settings.task, settings.include_path)
    base = load_base(settings)
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
    identity = base_identity(base, settings)  # before LoRA joins the tensors
    model = add_lora(base.model, settings)
    checkpoint = folder.begin(
        {
            "command": command or f"train({settings!r}, {str(output)!r})",
            "settings": settings.as_json(),
            "base": identity,
            "task": _task_identity(task, prompts, max_length),
            "rows": rows.facts(),
            "lora": _lora_facts(model),
            "versions": _versions(),
        }
    )
    trainer = make_trainer(model, base, rows, settings, folder.checkpoints)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _save(model, folder, settings)
    results = results_of(trainer, rows, settings, checkpoint)
    folder.finish(results | {"adapter_sha256": open_adapter(folder.path).sha256})
    logger.info(
        "%s: %d steps, loss %.3f -> %.3f, %.0f tokens/s",
        folder.path,
        results["steps"],
        results["first_loss"],
        results["final_loss"],
        results["tokens_per_second"],
    )
    return folder.path


def _save(model: PeftModel, folder: RunFolder, settings: TrainSettings) -> None:
    """Save the adapter; no tokenizer, since neither tokens nor chat template are changed."""
    card = (
        "---\nlibrary_name: peft\n---\n"
        f"# LoRA for {settings.task}\n\n"
        f"Trained by `lora-boundary train` on the lm-eval task `{settings.task}`; `training.json` "
        "has all settings, the data and the loss curve.\n"
    )
    (folder.path / "README.md").write_text(card, encoding="utf-8")  # PEFT adds its metadata
    model.save_pretrained(str(folder.path), save_embedding_layers=False)


def _log_rows(rows: Rows, max_length: int) -> None:
    facts = rows.facts()
    logger.info(
        "%d rows of %d documents, %d tokens; dropped %d without a target and %d that do not fit "
        "into %d tokens; %d prompts cut on the left",
        facts["used"],
        facts["documents"],
        facts["tokens"],
        facts["dropped_empty_target"],
        facts["dropped_too_long"],
        max_length,
        facts["truncated_prompts"],
    )


def _lora_facts(model: PeftModel) -> dict[str, Any]:
    config = model.peft_config["default"]
    parameters, _ = model.get_nb_trainable_parameters()
    return {"target_modules": sorted(config.target_modules), "parameters": parameters}


def _versions() -> dict[str, str]:
    names = ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "trl")
    return {name: version(name) for name in names} | {"torch": torch.__version__}


def _task_identity(task: Task, prompts: Prompts, max_length: int) -> dict[str, Any]:
    """Return what decides the prompts of a task."""
    names = (
        *("task", "dataset_path", "dataset_name", "training_split", "process_docs"),
        *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"),
        *("target_delimiter", "fewshot_delimiter", "fewshot_split", "generation_kwargs"),
    )
    config = task.dump_config()
    facts: dict[str, Any] = {name: config[name] for name in names if name in config}
    facts = json.loads(json.dumps(facts, default=str))
    return facts | {
        "version": task.VERSION,
        "num_fewshot": prompts.num_fewshot,
        "ending": prompts.ending,
        "max_length": max_length,
    }
