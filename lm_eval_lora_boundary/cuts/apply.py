"""Cut the adapter of a PEFT model that is already in memory."""

from __future__ import annotations

from peft import PeftModel

from ..errors import AdapterError
from .cut import CUT, LoraCut


def apply_boundary(model: PeftModel, boundary: int) -> LoraCut:
    """Keep a model's LoRA in layers ``0..boundary`` and drop it above, in place.

    >>> model = PeftModel.from_pretrained(base, "my-adapter")  # doctest: +SKIP
    >>> with apply_boundary(model, 20) as cut:  # doctest: +SKIP
    ...     logits = model(input_ids).logits  # (batch, seq, vocab)

    Base tensors that the adapter's file held whole, such as the embeddings of a grown vocabulary,
    cannot be recognised in a loaded model and stay. LoraBoundaryLM restores them.

    Args:
        model: A PEFT model with one unmerged LoRA adapter.
        boundary: Last layer whose LoRA is kept, ``-1..N-1``: -1 gives the base model, N-1 the
            whole adapter.

    Returns:
        The cut, the same for every call on a model. ``cut.move(K)`` moves the boundary. Leaving a
        ``with`` block goes back to the boundary before it. ``cut.finish()`` makes the cut final
        and frees the dropped modules.

    Raises:
        BoundaryError: The boundary is not an integer in ``-1..N-1``.
        AdapterError: The adapter cannot be cut exactly. The message says why and what to do.
        ModelError: The decoder layers cannot be found.
    """
    cut: LoraCut = getattr(model, CUT, None) or LoraCut(model)
    if not cut.modules:
        raise AdapterError("the boundary of this model is final; load the adapter again")
    cut.push(boundary)
    return cut
