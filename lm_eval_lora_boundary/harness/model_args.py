"""What both models, ``lora_boundary`` and ``lora_boundary_vllm``, take in ``--model_args``."""

from __future__ import annotations

from dataclasses import dataclass

from ..cuts.adapter_folder import AdapterFolder, open_adapter
from ..cuts.boundaries import parse_boundary
from ..cuts.recorded_choice import Record, read_record
from ..errors import AdapterError, BoundaryError, LoraBoundaryError
from .model_info import hub_commit


@dataclass(frozen=True)
class AskedCut:
    """The cut that a user asks for.

    Attributes:
        adapter: The adapter; None for the base model alone.
        peft: The adapter as the user named it.
        peft_revision: Its revision on the hub.
        boundary: The boundary; None for the whole adapter.
        merge: Whether to merge the kept modules into the base weights.
        record: Where the boundary was recorded, for ``boundary=auto``.
    """

    adapter: AdapterFolder | None
    peft: str | None
    peft_revision: str | None
    boundary: int | None
    merge: bool
    record: Record | None

    def commit(self) -> dict[str, str]:
        """Return the adapter's commit on the hub, as the results JSON has it."""
        return {} if self.peft is None else {"peft_sha": hub_commit(self.peft, self.peft_revision)}


def open_cut(
    peft: str | None, boundary: object, *, merge: object, peft_revision: object
) -> AskedCut:
    """Open the adapter and find the boundary that is meant.

    Args:
        peft: LoRA adapter: hub id or local folder.
        boundary: Last layer whose LoRA is kept, ``-1..N-1``; ``"auto"`` for the one that a sweep
            recorded in the adapter folder; None for the whole adapter.
        merge: Merge the kept modules into the base weights.
        peft_revision: Revision of the adapter on the hub.

    Raises:
        BoundaryError: The boundary is not an integer, is given without ``peft``, or is ``auto``
            with nothing recorded.
        AdapterError: The adapter is missing, damaged or not a LoRA adapter.
    """
    parsed = parse_boundary(boundary)
    if peft == "":
        raise AdapterError("peft= is empty; give an adapter, or leave it out")
    if peft is None and (parsed is not None or merge or peft_revision is not None):
        raise BoundaryError(
            f"boundary={boundary!r}, merge={merge}, peft_revision={peft_revision!r} without "
            "peft=; give the adapter, or use --model hf"
        )
    if not isinstance(merge, bool):
        raise LoraBoundaryError(f"merge={merge!r}; expected True or False")
    # lm-eval turns names and revisions of digits into numbers.
    name = None if peft is None else str(peft)
    revision = None if peft_revision is None else str(peft_revision)
    adapter = None if name is None else open_adapter(name, revision)
    record = read_record(adapter) if parsed == "auto" and adapter is not None else None
    if record is not None:
        parsed = record.boundary
    number = parsed if isinstance(parsed, int) else None
    return AskedCut(adapter, name, revision, number, merge, record)
