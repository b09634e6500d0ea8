"""Writes a trained adapter as a folder that PEFT loads."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError

from ..errors import ModelError, OutputError, first_line
from ..files import allow_reading
from .settings import TrainSettings


def save_adapter(model: PeftModel, settings: TrainSettings, folder: Path) -> None:
    """Save the adapter, without a tokenizer, which training does not change.

    Args:
        model: The model with the adapter.
        settings: Settings of the run.
        folder: Where the adapter goes.

    Raises:
        ModelError: The adapter holds numbers that are not finite.
        OutputError: The folder cannot be written.
    """
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False).values()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise ModelError(
            "the trained adapter holds NaN or infinite numbers, so training has failed; give a "
            "smaller --lr or another --dtype, and another --output"
        )
    for config in model.peft_config.values():
        if isinstance(config.target_modules, set):  # whose order differs from run to run
            config.target_modules = sorted(config.target_modules)
    what = f"the lm-eval task `{settings.task}`"
    if settings.data is not None:
        what = f"rows of `{Path(settings.data).name}`"
    card = (
        "---\nlibrary_name: peft\n---\n"
        f"# LoRA for {settings.task or Path(settings.data or '').stem}\n\n"
        f"Trained with `lora-boundary train` on {what}. "
        "`training.json` records all settings, the data and the loss curve.\n"
    )
    try:
        (folder / "README.md").write_text(card, encoding="utf-8")  # PEFT adds metadata
        model.save_pretrained(str(folder), save_embedding_layers=False)
        allow_reading(folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{folder} cannot be written ({first_line(error)}); the checkpoints are safe: "
            "make room, and run the same command again to go on"
        ) from error
