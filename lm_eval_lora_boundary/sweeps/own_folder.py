"""The output folder of a sweep belongs to its settings, its model and its adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import LoraBoundaryError, OutputError
from ..files import (
    CONFIRMED,
    CONTROL,
    PLOTS,
    REPORT,
    ROWS,
    SPEED,
    SWEEP,
    TRACE,
    UNFINISHED,
    read_object,
    write_text,
)
from ..harness.run_folder import FORCE, refuse_other_sweep, refuse_other_trace_for_sweep
from .output_folder import remove_folder
from .settings import SweepSettings

# keys that say which weights were used, and their names in messages
_WEIGHTS = {"base_sha256": "base model", "adapter_sha256": "adapter"}


class OwnFolder:
    """The output folder of a sweep, from before it begins until it has ended.

    An interrupted sweep leaves ``unfinished.json`` in it, with the settings to go on with.
    """

    def __init__(self, path: Path, settings: SweepSettings, *, force: bool) -> None:
        """Check the folder, which need not exist; change nothing.

        Raises:
            OutputError: It holds results with other settings, and ``force`` is not given.
        """
        self._path = path
        self._settings = settings.as_json()
        self._force = force
        if not force:
            refuse_other_sweep(path, self._settings)

    def check(self, facts: Mapping[str, Any]) -> None:
        """Check the folder again, now that it is locked and the weights are known.

        Args:
            facts: What identifies the weights, as ``sweep.json`` has it.

        Raises:
            OutputError: It holds results of other weights or settings, and ``force`` was not given.
        """
        self._weights = {key: facts[key] for key in _WEIGHTS}
        self._other = False
        try:
            refuse_other_sweep(self._path, self._settings)  # another process may have begun
            self._refuse_other_weights(self._weights)
        except OutputError:
            if not self._force:
                raise
            self._other = True

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Write what identifies the run; if it is interrupted in this block, that stays there.

        A run that ends with an error about its settings has nothing to go on with.

        Raises:
            OutputError: The folder cannot be written.
        """
        if self._other:
            try:
                self._clear()
            except OSError as error:
                raise OutputError(f"{self._path} cannot be emptied: {error.strerror}") from error
        record = {**self._weights, "settings": self._settings}
        unfinished = self._path / UNFINISHED
        write_text(unfinished, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        try:
            yield
        except OutputError:
            raise
        except LoraBoundaryError:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.unlink(missing_ok=True)

    def _refuse_other_weights(self, weights: Mapping[str, str]) -> None:
        for name in (UNFINISHED, SWEEP):
            if not (self._path / name).is_file():
                continue
            recorded = read_object(self._path / name, FORCE)
            for key, called in _WEIGHTS.items():
                # an earlier version did not record them
                if recorded.get(key, weights[key]) != weights[key]:
                    raise OutputError(
                        f"{self._path} holds a sweep of another {called} under the same name: its "
                        f"hash is {str(recorded[key])[:12]} there and {weights[key][:12]} here; "
                        f"{FORCE}"
                    )

    def _clear(self) -> None:
        """Remove the results of other runs. Stored answers stay: they know what they answer."""
        try:
            refuse_other_trace_for_sweep(self._path, self._settings)
        except OutputError:
            for path in (self._path / TRACE, *self._path.glob("trace_documents_*.jsonl")):
                path.unlink(missing_ok=True)
        if not (self._path / TRACE).exists():
            remove_folder(self._path / PLOTS)
        for folder in (*self._path.glob("boundary=*"), *self._path.glob("cut=*")):
            remove_folder(folder)
        remove_folder(self._path / CONFIRMED)
        remove_folder(self._path / CONTROL)
        for name in (REPORT, SPEED, ROWS, SWEEP, UNFINISHED):
            (self._path / name).unlink(missing_ok=True)
