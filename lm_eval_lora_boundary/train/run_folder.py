"""The output folder of a training run: what it holds, and whether a run may go on in it.

DIR/training.json         what was asked, what was trained on, what came out
DIR/checkpoints/          until the run has finished
DIR/adapter_config.json, adapter_model.safetensors, README.md    once it has
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cuts.adapter_folder import open_adapter
from ..errors import AdapterError, OutputError
from ..files import write_text

RECORD = "training.json"
COMPLETE = "complete"  # marks a checkpoint whose files are all written
# what must be the same for a run to go on
_IDENTITY = ("settings", "base", "rows")


class RunFolder:
    """The output folder of one training run.

    Attributes:
        path: The folder.
        checkpoints: Where its checkpoints are.
        record: What ``training.json`` says; empty before the run has begun.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Open the folder, which need not exist; changes nothing.

        Args:
            path: The folder.
            settings: Settings of the run, as in ``training.json``.

        Raises:
            OutputError: It holds something else, or a run with other settings.
        """
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.record: dict[str, Any] = {}
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"output={path} is a file; give a folder")
        if (self.path / RECORD).is_file():
            self.record = self._read()
            self._refuse_other("settings", settings)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise OutputError(
                f"output={path} holds something else (no {RECORD}); give a new or empty folder"
            )

    @property
    def finished(self) -> bool:
        """Whether the run has finished.

        Raises:
            OutputError: It has, but the adapter is not the one that it wrote.
        """
        if not self.record.get("finished"):
            return False
        remedy = "train again into another folder"
        try:
            found = open_adapter(self.path).sha256
        except AdapterError as error:
            raise OutputError(f"{self.path} has lost its adapter ({error}); {remedy}") from error
        if found != self.record["adapter_sha256"]:
            raise OutputError(f"the adapter in {self.path} was changed after training; {remedy}")
        return True

    def begin(self, record: Mapping[str, Any]) -> Path | None:
        """Begin or resume the run.

        Args:
            record: What is known before the first step, with the keys ``settings``, ``base`` and
                ``rows`` that identify the run.

        Returns:
            The checkpoint to resume from, or None to start at the first step.

        Raises:
            OutputError: The folder cannot be written, or holds a run on another base or data.
        """
        if self.record:
            for key in _IDENTITY:
                self._refuse_other(key, record[key])
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._write({**record, "finished": False})
        except OSError as error:
            raise OutputError(f"output={self.path} cannot be written: {error}") from error
        complete = [folder.parent for folder in self.checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
        return max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Record the results of the run, whose adapter is saved, and remove its checkpoints."""
        self._write({**self.record, **results, "finished": True})
        shutil.rmtree(self.checkpoints)

    def _read(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
            if record.keys() >= {"finished", *_IDENTITY}:
                return record
        except (OSError, ValueError, AttributeError) as error:
            raise OutputError(f"{self.path / RECORD} cannot be read: {error}") from error
        raise OutputError(
            f"{self.path / RECORD} was not written by lora-boundary; use a new folder"
        )

    def _write(self, record: dict[str, Any]) -> None:
        write_text(self.path / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        self.record = record

    def _refuse_other(self, key: str, given: Mapping[str, Any]) -> None:
        recorded = self.record[key]
        differing = [
            f"{name} is {recorded.get(name)!r} there and {given.get(name)!r} here"
            for name in sorted({*recorded, *given})
            if recorded.get(name) != given.get(name)
        ]
        if differing:
            what = {"settings": "settings", "base": "base model", "rows": "training data"}[key]
            raise OutputError(
                f"{self.path} holds a run with other {what}: {'; '.join(differing)}. "
                "Give another --output, or remove the folder."
            )
