"""Cut the adapter of a PEFT model that is already in memory."""

from __future__ import annotations

from peft import PeftModel

from ..errors import AdapterError, BoundaryError
from .cut import CUT, LoraCut
from .keep import parse_keep


def apply_boundary(
    model: PeftModel, boundary: int | None = None, *, keep: object = None
) -> LoraCut:
    """Keep a model's LoRA in some layers, drop it in others or scale it, in place.

    >>> model = PeftModel.from_pretrained(base, "my-adapter")  # doctest: +SKIP
    >>> with apply_boundary(model, 20) as cut:  # doctest: +SKIP
    ...     logits = model(input_ids).logits  # (batch, seq, vocab)
    >>> cut = apply_boundary(model, keep="0-9+10-19@0.5")  # doctest: +SKIP

    Base tensors that the adapter's file held whole, such as the embeddings of a grown vocabulary,
    cannot be recognised in a loaded model and stay. LoraBoundaryLM restores them.

    Args:
        model: A PEFT model with one unmerged adapter.
        boundary: Last layer whose LoRA is kept, ``-1..N-1``: -1 gives the base model, N-1 the
            whole adapter.
        keep: Any other cut, as in :func:`.parse_keep`; give it or a boundary.

    Returns:
        The cut, the same for every call on a model. ``cut.move(K)`` moves the boundary. Leaving a
        ``with`` block goes back to the cut before it. ``cut.finish()`` makes the cut final and
        frees the dropped modules.

    Raises:
        BoundaryError: The boundary is not an integer in ``-1..N-1``, or ``keep`` is not a cut of
            the model, or both or neither are given.
        AdapterError: The adapter cannot be cut exactly. The message says why and what to do.
        ModelError: The decoder layers cannot be found.
    """
    if (boundary is None) == (keep is None):
        raise BoundaryError(f"boundary={boundary!r} and keep={keep!r}; give one of them")
    cut: LoraCut = getattr(model, CUT, None) or LoraCut(model)
    if not cut.modules:
        raise AdapterError("the boundary of this model is final; load the adapter again")
    cut.push(cut.cut(boundary) if keep is None else parse_keep(keep, cut.stack.count))
    return cut
