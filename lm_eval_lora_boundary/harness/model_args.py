"""What both models, ``lora_boundary`` and ``lora_boundary_vllm``, take in ``--model_args``."""

from __future__ import annotations

from dataclasses import dataclass

from ..cuts.adapter_folder import AdapterFolder, open_adapter
from ..cuts.boundaries import parse_boundary
from ..cuts.keep import Cut, parse_keep
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
        boundary: The boundary; None for the whole adapter, or if ``keep`` is given.
        keep: Any other cut; None if it is not given.
        merge: Whether to merge the kept modules into the base weights.
        record: Where the boundary was recorded, for ``boundary=auto``.
    """

    adapter: AdapterFolder | None
    peft: str | None
    peft_revision: str | None
    boundary: int | None
    keep: object
    merge: bool
    record: Record | None

    def cut(self, layers: int) -> Cut:
        """Return the cut for a model with this many decoder layers.

        Raises:
            BoundaryError: The model does not have such layers.
        """
        if self.keep is not None:
            return parse_keep(self.keep, layers)
        return Cut.up_to(layers - 1 if self.boundary is None else self.boundary, layers)

    def commit(self) -> dict[str, str]:
        """Return the adapter's commit on the hub, as the results JSON has it."""
        return {} if self.peft is None else {"peft_sha": hub_commit(self.peft, self.peft_revision)}


def open_cut(
    peft: str | None, boundary: object, *, keep: object, merge: object, peft_revision: object
) -> AskedCut:
    """Open the adapter and find the cut that is meant.

    Args:
        peft: Adapter: hub id or local folder.
        boundary: Last layer whose LoRA is kept, ``-1..N-1``; ``"auto"`` for the one that a sweep
            recorded in the adapter folder; None for the whole adapter.
        keep: Any cut, as in :func:`.parse_keep`, instead of a boundary.
        merge: Merge the kept modules into the base weights.
        peft_revision: Revision of the adapter on the hub.

    Raises:
        BoundaryError: The boundary is not an integer, is given without ``peft`` or together with
            ``keep``, or is ``auto`` with nothing recorded.
        AdapterError: The adapter is missing, damaged, or of a kind that cannot be cut by layers.
    """
    parsed = parse_boundary(boundary)
    if peft == "":
        raise AdapterError("peft= is empty; give an adapter, or leave it out")
    if parsed is not None and keep is not None:
        raise BoundaryError(
            f"boundary={boundary} and keep={keep} were both given; give one of them"
        )
    if peft is None and (parsed is not None or keep or merge or peft_revision is not None):
        raise BoundaryError(
            f"boundary={boundary!r}, keep={keep!r}, merge={merge}, "
            f"peft_revision={peft_revision!r} without peft=; give the adapter, or use --model hf"
        )
    if not isinstance(merge, bool):
        raise LoraBoundaryError(f"merge={merge!r}; expected True or False")
    # lm-eval turns names and revisions of digits into numbers.
    name = None if peft is None else str(peft)
    revision = None if peft_revision is None else str(peft_revision)
    adapter = None if name is None else open_adapter(name, revision)
    record = read_record(adapter) if parsed == "auto" and adapter is not None else None
    if record is not None:
        keep = record.keep
    number = parsed if isinstance(parsed, int) else None
    return AskedCut(adapter, name, revision, number, keep, merge, record)
