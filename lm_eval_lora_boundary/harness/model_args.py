"""What both models, ``lora_boundary`` and ``lora_boundary_vllm``, take in ``--model_args``."""

from __future__ import annotations

from dataclasses import dataclass

from ..cuts.adapter_folder import AdapterFolder, open_adapter
from ..cuts.boundaries import parse_boundary
from ..cuts.recorded_choice import Record, read_record
from ..errors import AdapterError, BoundaryError, LoraBoundaryError


@dataclass(frozen=True)
class AskedCut:
    """The cut that a user asks for.

    Attributes:
        adapter: The adapter; None for the base model alone.
        revision: Its revision on the hub.
        boundary: The boundary; None for the whole adapter.
        record: What recorded the boundary, for ``boundary=auto``.
    """

    adapter: AdapterFolder | None
    revision: str | None
    boundary: int | None
    record: Record | None


def open_cut(
    peft: str | None, boundary: object, *, merge: object, peft_revision: object
) -> AskedCut:
    """Open the adapter and find out which boundary is meant.

    Args:
        peft: LoRA adapter: hub id or local folder.
        boundary: An integer, ``"auto"`` or None.
        merge: Whether to merge what is kept.
        peft_revision: Revision of the adapter on the hub.

    Raises:
        BoundaryError: The boundary is no integer, given without ``peft``, or ``auto`` with nothing
            recorded.
        AdapterError: The adapter is missing, damaged or of another kind.
    """
    asked = parse_boundary(boundary)
    if peft == "":
        raise AdapterError("peft= is empty; give an adapter, or leave it out")
    if peft is None and (asked is not None or merge or peft_revision is not None):
        raise BoundaryError(
            f"boundary={boundary!r}, merge={merge}, peft_revision={peft_revision!r} without "
            "peft=; give the adapter, or use --model hf"
        )
    if not isinstance(merge, bool):
        raise LoraBoundaryError(f"merge={merge!r}; expected True or False")
    # lm-eval turns names and revisions that consist of digits into numbers
    revision = None if peft_revision is None else str(peft_revision)
    adapter = None if peft is None else open_adapter(str(peft), revision)
    record = None
    if asked == "auto" and adapter is not None:
        record = read_record(adapter)
        asked = record.boundary
    return AskedCut(adapter, revision, asked if isinstance(asked, int) else None, record)
