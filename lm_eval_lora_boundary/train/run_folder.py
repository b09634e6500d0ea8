"""The output folder of a training run.

DIR/training.json    settings, data and results
DIR/checkpoints/     until the run has finished; locked while a process trains
DIR/adapter_config.json, adapter_model.safetensors, README.md    from then on
DIR/epoch=N/         the adapter after epoch N, with a training.json, if it was asked for
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ..cuts.adapter_folder import open_adapter
from ..errors import AdapterError, OutputError
from ..files import flush, lock, read_object, write_text
from ..harness.run_folder import differences

TRAINING = "training.json"
CHECKPOINTS = "checkpoints"
COMPLETE = "complete"  # empty file in every checkpoint that is fully written
# what a run that was killed at once may leave in its folder
_BEGINNING = {CHECKPOINTS, f".{TRAINING}.writing"}
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
        self.checkpoints = self.path / CHECKPOINTS
        self.record: dict[str, Any] = {}
        self._lock: IO[str] | None = None
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"output={path} is a file; give a folder")
        if (self.path / TRAINING).is_file():
            self.record = self._read()
            self._check_same("settings", settings)
        elif self.path.is_dir() and {file.name for file in self.path.iterdir()} - _BEGINNING:
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
        self._remove_checkpoints()  # if the run was killed before it could
        return True

    def begin(self, record: Mapping[str, Any]) -> Path | None:
        """Begin or resume the run; ``settings``, ``base`` and ``rows`` in ``record`` identify it.

        Returns:
            The checkpoint to resume from, or None to start from the beginning.

        Raises:
            OutputError: The folder cannot be written, another process trains there, or it holds a
                run with a different base model or different training data.
        """
        self._lock = lock(self.checkpoints)
        if (self.path / TRAINING).is_file():  # perhaps another process has begun in the meantime
            self.record = self._read()
        if self.record:
            for key in _IDENTITY:
                self._check_same(key, record[key])
        if self.record.get("finished"):
            self._remove_checkpoints()
            raise OutputError(
                f"another process has just finished the run in {self.path}; nothing is left to do"
            )
        self._write({**record, "finished": False})
        complete = [folder.parent for folder in self.checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
        newest = max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
        # The trainer removes the folder that changed first, which need not be the oldest
        # checkpoint once some are half written or half removed.
        for other in set(self.checkpoints.glob("checkpoint-*")) - {newest}:
            shutil.rmtree(other, ignore_errors=True)
        return newest

    def write_epoch(self, save: Callable[[Path], None], epoch: int, steps: int) -> None:
        """Write the adapter after an epoch as a folder of its own, which is there in whole or not.

        Args:
            save: Writes the adapter into a folder.
            epoch: Number of the epoch, from 1.
            steps: Optimizer steps until then.

        Raises:
            OutputError: The folder cannot be written.
        """
        path = self.path / f"epoch={epoch}"
        temporary = self.path / f".{path.name}.writing"
        try:
            for old in (temporary, path):  # of a run that was killed before its next checkpoint
                if old.exists():
                    shutil.rmtree(old)
            temporary.mkdir()
            save(temporary)
            ended: dict[str, Any] = {"epoch": epoch, "steps": steps, "finished": True}
            ended["adapter_sha256"] = open_adapter(temporary).sha256
            _write_record(temporary, {**self.record, **ended})
            flush(temporary)
            temporary.rename(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error

    def finish(self, results: Mapping[str, Any]) -> None:
        """Record the results after the adapter is saved, and delete the checkpoints.

        Raises:
            OutputError: They cannot be written.
        """
        try:
            flush(self.path)  # before what it could be trained from again is gone
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error
        self._write({**self.record, **results, "finished": True})
        self._remove_checkpoints()

    def close(self) -> None:
        """Let other processes work in the folder."""
        if self._lock is not None:
            self._lock.close()

    def _remove_checkpoints(self) -> None:
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        remedy = "give a new or empty folder"
        record = read_object(self.path / TRAINING, remedy)
        if "finished" not in record or not all(isinstance(record.get(k), dict) for k in _IDENTITY):
            raise OutputError(
                f"{self.path / TRAINING} was not written by `lora-boundary train`; {remedy}"
            )
        return record

    def _write(self, record: dict[str, Any]) -> None:
        _write_record(self.path, record)
        self.record = record

    def _check_same(self, key: str, given: Mapping[str, Any]) -> None:
        if differing := differences(self.record[key], given):
            raise OutputError(
                f"{self.path} holds a run with different {_IDENTITY[key]}: {'; '.join(differing)}; "
                "give another --output or delete the folder"
            )


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_text(folder / TRAINING, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
