"""Supervised LoRA fine-tuning on an lm-eval task's own prompts and targets."""

from .run import train
from .settings import TrainSettings

__all__ = ["TrainSettings", "train"]
