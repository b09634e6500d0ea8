"""TRL's trainer, set up for rows that are tokenised and labelled already."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import ProgressCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from .data import Rows
from .run_folder import COMPLETE
from .settings import TrainSettings


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, whose checkpoints hold the adapter and what resuming needs."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # without the flag PEFT asks the hub about the base model's vocabulary, which never changes
        self.model.save_pretrained(output_dir, save_embedding_layers=False)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card into folders that are removed."""


class _MarkComplete(TrainerCallback):
    """Marks checkpoints that are written in full, so that a kill cannot leave a broken one."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint of this step."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class _Progress(ProgressCallback):
    """A progress bar that shows the loss, and nothing else."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Show the loss in the bar instead of printing all that is logged."""
        if self.training_bar is not None and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4g}")


def make_trainer(
    model: PeftModel, base: HFLM, rows: Rows, settings: TrainSettings, checkpoints: Path
) -> SFTTrainer:
    """Set up the trainer.

    Args:
        model: The model with its LoRA.
        base: The base model as lm-eval loaded it, for device and tokenizer.
        rows: The training rows.
        settings: The run.
        checkpoints: Folder for checkpoints.
    """
    trainer = _Trainer(
        model=model,
        args=_arguments(base, settings, checkpoints),
        train_dataset=rows.dataset(),
        processing_class=base.tokenizer,
        callbacks=[_MarkComplete()],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Progress())
    return trainer


def _arguments(base: HFLM, settings: TrainSettings, checkpoints: Path) -> SFTConfig:
    half = base.model.dtype in (torch.bfloat16, torch.float16)
    on_cpu = base.device.type == "cpu"
    with warnings.catch_warnings():
        # the new name is unknown to older transformers, and TRL itself sets the old one
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
        arguments = SFTConfig(
            output_dir=str(checkpoints),
            per_device_train_batch_size=settings.micro,
            gradient_accumulation_steps=settings.batch_size // settings.micro,
            num_train_epochs=settings.epochs,
            learning_rate=settings.lr,
            lr_scheduler_type="linear",
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            data_seed=settings.seed,
            bf16=settings.dtype == "bfloat16" or (settings.dtype == "auto" and half),
            use_cpu=on_cpu,
            dataloader_pin_memory=base.device.type == "cuda",
            gradient_checkpointing=False,
            max_length=None,  # the rows are cut to length, and labelled, already
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=0.01,  # of all steps: a loss curve of a hundred points
            logging_first_step=True,
            save_steps=settings.save_steps,
            save_total_limit=2,
            report_to="none",
        )
    if not on_cpu:
        arguments._n_gpu = 1  # where several are visible: no DataParallel, which TRL refuses
    return arguments


def results_of(
    trainer: SFTTrainer, rows: Rows, settings: TrainSettings, checkpoint: Path | None
) -> dict[str, Any]:
    """Return steps, loss curve and speed of a finished training, resumed or not."""
    history = trainer.state.log_history
    curve = [[entry["step"], entry["loss"]] for entry in history if "loss" in entry]
    runtime = next(e["train_runtime"] for e in reversed(history) if "train_runtime" in e)
    steps = trainer.state.global_step
    resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    trained = sum(len(row.tokens) for row in rows.rows) * settings.epochs
    return {
        "steps": steps,
        "resumed_from_step": resumed or None,
        "loss": curve,
        "first_loss": curve[0][1],
        "final_loss": curve[-1][1],
        "runtime_seconds": runtime,
        "tokens_trained": round(trained),
        "tokens_per_second": round(trained * (steps - resumed) / steps / runtime, 1),
    }
