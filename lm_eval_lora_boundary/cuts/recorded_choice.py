"""The boundary that a sweep recorded in an adapter folder, for ``boundary=auto``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BoundaryError
from .adapter_folder import RECORD, AdapterFolder


@dataclass(frozen=True)
class Record:
    """A recorded choice.

    Attributes:
        path: Where it is recorded.
        boundary: The boundary.
        base_sample: What :func:`weights_sample` gave for the base model.
    """

    path: Path
    boundary: int
    base_sample: str

    def check_base(self, sample: str) -> None:
        """Refuse a base model other than the recorded one.

        Args:
            sample: What :func:`weights_sample` gives for it.

        Raises:
            BoundaryError: It is another one.
        """
        if sample != self.base_sample:
            raise BoundaryError(
                f"boundary=auto, but {self.path} was recorded for another base model (weights "
                f"{self.base_sample[:12]}…, now {sample[:12]}…; quantised weights differ, too); "
                "run the sweep with this one, or give boundary=K"
            )


def read_record(adapter: AdapterFolder) -> Record:
    """Return the choice that a sweep recorded in the adapter folder.

    Raises:
        BoundaryError: None is recorded, it cannot be read, or it was recorded for other tensors
            or another config.
    """
    path = adapter.path / RECORD
    if not path.is_file():
        raise BoundaryError(
            f"boundary=auto, but {adapter.path} has no {RECORD}; record one with "
            "`lora-boundary sweep … --save`, or give boundary=K"
        )
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        boundary, sha256 = content["boundary"], content["adapter_sha256"]
        sample = str(content["base_weights_sample"])
        config = content.get("adapter_config_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BoundaryError(
            f"boundary=auto, but {path} cannot be read ({type(error).__name__}: {error}); expected "
            "keys boundary, adapter_sha256 and base_weights_sample. Record it again, or give "
            "boundary=K."
        ) from error
    if sha256 != adapter.sha256:
        raise BoundaryError(
            f"boundary=auto, but {path} was recorded for other adapter tensors "
            f"({str(sha256)[:12]}…, now {adapter.sha256[:12]}…); run the sweep again, or give "
            "boundary=K"
        )
    if config is None:
        raise BoundaryError(
            f"boundary=auto, but {path} is of an older version, which did not note the adapter's "
            "config, so that a change there would go unseen; run `lora-boundary sweep … --save` "
            "again, or give boundary=K"
        )
    if config != adapter.config_sha256:
        raise BoundaryError(
            f"boundary=auto, but {path} was recorded for another adapter_config.json (lora_alpha, "
            "ranks or modules have changed since); run the sweep again, or give boundary=K"
        )
    if isinstance(boundary, bool) or not isinstance(boundary, int):
        raise BoundaryError(f"boundary=auto, but {path} records boundary={boundary!r}")
    return Record(path, boundary, sample)


def recorded_choice(adapter: AdapterFolder, boundary: int) -> dict[str, Any]:
    """Return what a sweep recorded about this boundary of an adapter, or nothing.

    Args:
        adapter: The adapter folder.
        boundary: The boundary that is exported.
    """
    path = adapter.path / RECORD
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or record.get("adapter_sha256") != adapter.sha256:
        return {}
    # records of older releases do not note the config
    config = record.get("adapter_config_sha256", adapter.config_sha256)
    return record if (record.get("boundary"), config) == (boundary, adapter.config_sha256) else {}
