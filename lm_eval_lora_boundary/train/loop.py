"""A training run: its arguments, what watches it, and its results."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import ProgressCallback, TrainerCallback
from trl import SFTConfig

from ..errors import ModelError, OutputError
from ..harness.display import Display
from .data import Rows
from .run_folder import COMPLETE
from .settings import TrainSettings
from .trainer import Trainer


class _MarkComplete(TrainerCallback):
    """Marks complete checkpoints, so that a run never resumes from a partly written one."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint of this step."""
        mark = Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE
        try:
            mark.touch()
        except OSError as error:
            raise OutputError(f"{mark} cannot be written: {error.strerror}") from error


class AfterEpochs(TrainerCallback):
    """Calls something after every whole epoch, with its number and that of the steps so far."""

    def __init__(self, call: Callable[[int, int], None]) -> None:
        """Prepare."""
        self._call = call

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Call it, before a checkpoint of this step is written: no run resumes with it left out."""
        epoch = round(state.epoch)
        if math.isclose(state.epoch, epoch):
            self._call(epoch, state.global_step)


class _Finite(TrainerCallback):
    """Ends a run whose loss is no number any more; the trainer would hide that and go on."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Check the mean loss since the last log entry."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} at step {state.global_step}, so training has failed; give a "
                "smaller --lr or another --dtype, and another --output"
            )


class _Progress(TrainerCallback):
    """Shows how far the run is, and the loss."""

    def __init__(self) -> None:
        """Prepare."""
        self._display = Display("train")
        self._resumed = 0
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note how much an earlier run has done."""
        self._resumed = state.global_step
        self._display.show(self._resumed, state.max_steps, stored=self._resumed)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Note the loss."""
        if logs and "loss" in logs:
            self._loss = f", loss {logs['loss']:.4g}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the step."""
        text = f"step {state.global_step:,} of {state.max_steps:,}{self._loss}"
        self._display.show(state.global_step, state.max_steps, text, stored=self._resumed)

    def close(self) -> None:
        """Remove the bar, which a trainer that fails would leave."""
        self._display.close()


def make_trainer(
    model: PeftModel, base: HFLM, rows: Rows, settings: TrainSettings, checkpoints: Path
) -> Trainer:
    """Set up the trainer; ``base`` gives device and tokenizer."""
    trainer = Trainer(
        most_rows=settings.micro,
        model=model,
        args=_arguments(base, settings, checkpoints),
        train_dataset=rows.dataset(),
        processing_class=base.tokenizer,
        callbacks=[_MarkComplete(), _Finite()],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Progress())
    return trainer


def close_bar(trainer: Trainer) -> None:
    """Close the progress bar."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, _Progress):
            callback.close()


def _arguments(base: HFLM, settings: TrainSettings, checkpoints: Path) -> SFTConfig:
    half_precision = base.model.dtype in (torch.bfloat16, torch.float16)
    on_cpu = base.device.type == "cpu"
    with warnings.catch_warnings():
        # older transformers lack the new name, and TRL itself sets the old one
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
        arguments = SFTConfig(
            output_dir=str(checkpoints),
            per_device_train_batch_size=settings.batch_size,  # divided into passes by the trainer
            gradient_accumulation_steps=1,
            num_train_epochs=settings.epochs,
            learning_rate=settings.lr,
            lr_scheduler_type="linear",
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            data_seed=settings.seed,
            bf16=settings.dtype == "bfloat16" or (settings.dtype == "auto" and half_precision),
            use_cpu=on_cpu,
            dataloader_pin_memory=base.device.type == "cuda",
            gradient_checkpointing=False,
            max_length=None,  # the rows already have their final length
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=0.01,  # as a share of all steps: a loss curve of 100 points
            logging_first_step=True,
            logging_nan_inf_filter=False,  # it would hide a failed run
            save_steps=settings.save_steps,
            save_total_limit=2,
            report_to="none",
        )
    if not on_cpu:
        arguments._n_gpu = 1  # with several visible GPUs, no DataParallel, which TRL refuses
    return arguments


def training_results(
    trainer: Trainer, rows: Rows, settings: TrainSettings, checkpoint: Path | None
) -> dict[str, Any]:
    """Return steps, loss curve and speed of a finished run, for ``training.json``."""
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
