"""Base model and adapter in memory, ready to be cut for export."""

from __future__ import annotations

from typing import Any

from ..adapter import LoraCut
from ..adapter_folder import AdapterFolder
from ..checks import refuse_no_effect
from ..loading import load_adapter
from ..record import Record, weights_sample
from ..vocabulary import growing
from .bases import Bases
from .refusals import refuse_grown_head


def load_cut(
    bases: Bases, adapter: AdapterFolder, boundary: int, record: Record | None
) -> tuple[LoraCut, int, list[str], bool]:
    """Load base model and adapter, and check that there is something to export.

    Args:
        bases: Where the base model comes from.
        adapter: The whole adapter.
        boundary: The boundary.
        record: What recorded the boundary, for ``boundary=auto``.

    Returns:
        The cut, at the full adapter; rows of a grown vocabulary, or 0; the paths of all modules
        of the base model; whether its head is tied to its embeddings.

    Raises:
        BoundaryError: The boundary was recorded for another base model.
        AdapterError: The adapter does not fit, or nothing of it would be left.
    """
    base = bases.fresh()
    if record is not None:
        record.check_base(weights_sample(base))
    names = [name for name, _ in base.named_modules()]
    rows = max((rows for _, _, rows in growing(base, adapter)), default=0)
    tied = _tied(base)
    cut = load_adapter(base, adapter, boundary=boundary)
    refuse_no_effect(cut, boundary)
    refuse_grown_head(cut, boundary, rows)
    return cut, rows, names, tied


def _tied(model: Any) -> bool:
    """Tell whether embeddings and head are one tensor."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight
