"""The output folder of a training run.

DIR/training.json    settings, data and results
DIR/checkpoints/     until the run has finished
DIR/adapter_config.json, adapter_model.safetensors, README.md    from then on
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cuts.adapter_folder import open_adapter
from ..errors import AdapterError, OutputError
from ..files import read_object, write_text

TRAINING = "training.json"
COMPLETE = "complete"  # empty file in every checkpoint that is fully written
# keys of training.json that must be the same when a run resumes, and their names in messages
_IDENTITY = {"settings": "settings", "base": "base model", "rows": "training data"}


class RunFolder:
    """The output folder of one training run.

    Attributes:
        path: The folder.
        checkpoints: The folder of its checkpoints.
        record: Contents of ``training.json``; empty before the run has begun.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Open the folder, which need not exist, without changing it.

        Raises:
            OutputError: The folder holds other files, or a run with different settings.
        """
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.record: dict[str, Any] = {}
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"output={path} is a file; give a folder")
        if (self.path / TRAINING).is_file():
            self.record = self._read()
            self._check_same("settings", settings)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise OutputError(
                f"output={path} is not empty and has no {TRAINING}; give a new or empty folder"
            )

    @property
    def finished(self) -> bool:
        """Whether the run has finished.

        Raises:
            OutputError: The run has finished, but its adapter is missing or changed.
        """
        if not self.record.get("finished"):
            return False
        remedy = "train again into another folder"
        try:
            sha256 = open_adapter(self.path).sha256
        except AdapterError as error:
            raise OutputError(f"{self.path} lacks its adapter ({error}); {remedy}") from error
        if sha256 != self.record.get("adapter_sha256"):
            raise OutputError(f"the adapter in {self.path} was changed after training; {remedy}")
        return True

    def begin(self, record: Mapping[str, Any]) -> Path | None:
        """Begin or resume the run; ``settings``, ``base`` and ``rows`` in ``record`` identify it.

        Returns:
            The checkpoint to resume from, or None to start from the beginning.

        Raises:
            OutputError: The folder cannot be written, or holds a run with a different base model
                or different training data.
        """
        if self.record:
            for key in _IDENTITY:
                self._check_same(key, record[key])
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._write({**record, "finished": False})
        except OSError as error:
            raise OutputError(f"output={self.path} cannot be written: {error}") from error
        complete = [folder.parent for folder in self.checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
        return max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Record the results after the adapter is saved, and delete the checkpoints."""
        self._write({**self.record, **results, "finished": True})
        shutil.rmtree(self.checkpoints)

    def _read(self) -> dict[str, Any]:
        remedy = "give a new or empty folder"
        record = read_object(self.path / TRAINING, remedy)
        if "finished" not in record or not all(isinstance(record.get(k), dict) for k in _IDENTITY):
            raise OutputError(
                f"{self.path / TRAINING} was not written by `lora-boundary train`; {remedy}"
            )
        return record

    def _write(self, record: dict[str, Any]) -> None:
        write_text(self.path / TRAINING, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        self.record = record

    def _check_same(self, key: str, given: Mapping[str, Any]) -> None:
        recorded = self.record[key]
        differing = [
            f"{name} is {recorded.get(name)!r} there and {given.get(name)!r} here"
            for name in sorted({*recorded, *given})
            if recorded.get(name) != given.get(name)
        ]
        if differing:
            raise OutputError(
                f"{self.path} holds a run with different {_IDENTITY[key]}: {'; '.join(differing)}; "
                "give another --output or delete the folder"
            )
