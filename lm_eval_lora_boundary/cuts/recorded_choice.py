"""The boundary that a sweep recorded in an adapter folder, for ``boundary=auto``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BoundaryError
from ..untrusted import read_json
from .adapter_folder import RECORD, AdapterFolder

_LARGEST = 2**20  # bytes


@dataclass(frozen=True)
class Record:
    """A recorded choice.

    Attributes:
        path: The file.
        keep: The cut, as :func:`.parse_keep` reads it.
        base_sample: The :func:`.weights_sample` of the base model that it was chosen for.
        same_name: Whether that base model is used by its name, so that its weights need not be
            loaded only to compare them.
    """

    path: Path
    keep: str
    base_sample: str
    same_name: bool = False

    def check_base(self, sample: str) -> None:
        """Refuse a base model with another :func:`.weights_sample` than the recorded one.

        Raises:
            BoundaryError: It is another one.
        """
        if sample != self.base_sample:
            raise _refusal(
                f"{self.path} was recorded for another base model (weights "
                f"{self.base_sample[:12]}…, now {sample[:12]}…; quantised weights differ, too)"
            )


def read_record(adapter: AdapterFolder) -> Record:
    """Return the choice that a sweep recorded in the adapter folder.

    Raises:
        BoundaryError: There is no record, it cannot be read, or it was recorded for other tensors
            or another config.
    """
    path = adapter.path / RECORD
    if not (path.exists() or path.is_symlink()):
        raise _refusal(f"{adapter.path} has no {RECORD}")
    try:
        content = _read(adapter)
        boundary, sha256 = content["boundary"], content["adapter_sha256"]
        keep = content.get("cut") or _as_keep(boundary)
        sample = str(content["base_weights_sample"])
        config = content.get("adapter_config_sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refusal(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected keys boundary, "
            "adapter_sha256 and base_weights_sample"
        ) from error
    if sha256 != adapter.sha256:
        raise _refusal(
            f"{path} was recorded for other adapter tensors ({str(sha256)[:12]}…, now "
            f"{adapter.sha256[:12]}…)"
        )
    if config is None:
        raise _refusal(
            f"{path} is from an older version, which did not record the adapter's config, so a "
            "change there would go unnoticed"
        )
    if config != adapter.config_sha256:
        raise _refusal(
            f"{path} was recorded for another adapter_config.json (lora_alpha, ranks or modules "
            "have changed since)"
        )
    if not isinstance(keep, str):
        raise _refusal(
            f"{path} records boundary={boundary!r} and no cut; expected an integer, or a cut"
        )
    return Record(path, keep, sample)


def recorded_choice(adapter: AdapterFolder, keep: str, boundary: int | None) -> dict[str, Any]:
    """Return what a sweep recorded about a cut of an adapter, or {}.

    Args:
        adapter: The adapter.
        keep: The cut.
        boundary: The cut as a boundary; None if it is not one. Older versions recorded only this.
    """
    try:
        record = _read(adapter)
        sha256, chosen = record["adapter_sha256"], record["boundary"]
        config = record.get("adapter_config_sha256", adapter.config_sha256)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    if (sha256, config) != (adapter.sha256, adapter.config_sha256):
        return {}
    cut = record.get("cut")
    same = cut == keep if cut else boundary is not None and chosen == boundary
    return record if same else {}


def _as_keep(boundary: object) -> str | None:
    """Return the cut that a boundary stands for; None if it is not a boundary."""
    if isinstance(boundary, bool) or not isinstance(boundary, int) or boundary < -1:
        return None
    return {-1: "none", 0: "0"}.get(boundary, f"0-{boundary}")


def _read(adapter: AdapterFolder) -> Any:
    return read_json(adapter.path / RECORD, _LARGEST)


def _refusal(reason: str) -> BoundaryError:
    return BoundaryError(
        f"boundary=auto, but {reason}; record one with `lora-boundary sweep … --save`, or give "
        "boundary=K"
    )
