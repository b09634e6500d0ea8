"""What ``training.json`` in an adapter's folder says, if ``lora-boundary train`` wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cuts.paths import check_adapter_path
from ..errors import AdapterError, OutputError
from ..files import read_object

TRAINING = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """How an adapter was trained.

    Attributes:
        path: The file.
        settings: The settings of the training.
        row_ids: The ids of the user's own rows that it was trained on; None if it was trained on
            a task.
    """

    path: Path
    settings: Mapping[str, Any]
    row_ids: frozenset[str] | None

    @property
    def task(self) -> str | None:
        """The lm-eval task that it was trained on."""
        return self._text("task")

    @property
    def data(self) -> str | None:
        """The file with the user's own rows that it was trained on."""
        return self._text("data")

    @property
    def include_path(self) -> str | None:
        """The folder that the task was in."""
        return self._text("include_path")

    @property
    def system_instruction(self) -> str | None:
        """The system message."""
        return self._text("system_instruction")

    @property
    def chat(self) -> bool | None:
        """Whether prompts had a chat template."""
        found = self.settings.get("apply_chat_template")
        return found if isinstance(found, bool) else None

    @property
    def num_fewshot(self) -> int | None:
        """The number of examples in a prompt."""
        found = self.settings.get("num_fewshot")
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def _text(self, name: str) -> str | None:
        found = self.settings.get(name)
        return found if isinstance(found, str) and found.strip() and found.isprintable() else None


def read_training(
    peft: str, model_args: str | Sequence[str] | Mapping[str, Any] | None = None
) -> TrainingRecord | None:
    """Return how an adapter was trained; None if its folder does not say so.

    For a local folder, no library is imported.

    Args:
        peft: The adapter: hub id or local folder.
        model_args: Arguments of lm-eval's model, with ``peft_revision``, as text or read.
    """
    folder = Path(peft).expanduser()
    try:
        check_adapter_path(peft)
        if not folder.is_dir():
            folder = _downloaded(peft, model_args)
        path = folder / TRAINING
        record = read_object(path, "") if path.is_file() else {}
    except (AdapterError, OutputError):
        return None
    settings, data = record.get("settings"), record.get("data")
    if not isinstance(settings, dict):
        return None
    ids = data.get("rows") if isinstance(data, dict) else None
    return TrainingRecord(path, settings, frozenset(ids.split()) if isinstance(ids, str) else None)


def _downloaded(peft: str, model_args: str | Sequence[str] | Mapping[str, Any] | None) -> Path:
    """Return a folder with the file of an adapter on the hub."""
    from ..cuts.base_model import local_folder  # imports torch
    from .key_values import read_key_values

    revision = read_key_values(model_args, "--model-args").get("peft_revision")
    known = None if revision is None else str(revision)
    return local_folder("peft", peft, known, [TRAINING], AdapterError)
