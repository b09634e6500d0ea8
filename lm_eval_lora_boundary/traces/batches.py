"""Work on documents batch by batch, with fewer at once if memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from ..errors import ModelError
from ..forward.memory import rows_that_fit
from ..harness.memory import out_of_memory
from .gold import Gold
from .lm import TraceLM

_ROWS = 16  # documents in a batch by default; more only add padding
_T = TypeVar("_T")


def length(document: Gold) -> int:
    """Return the number of tokens of a document's prompt and answer."""
    return len(document.context) + len(document.answer)


def usual_rows(lm: TraceLM, documents: Sequence[Gold]) -> int:
    """Return how many documents a forward pass takes by default."""
    longest = max(map(length, documents))
    return min(_ROWS, rows_that_fit(lm.model.config, lm.model.dtype, longest, lm.device))


def in_batches(
    documents: Sequence[Gold],
    rows: int,
    read: Callable[[list[Gold]], Iterable[_T]],
    done: Callable[[int], object] = lambda count: None,
) -> list[_T]:
    """Read documents, longest first.

    Args:
        documents: The documents.
        rows: Documents in a batch. It is halved whenever memory runs out.
        read: Takes the documents of a batch, returns what was read of each.
        done: Called with the number of documents read, after every batch.

    Returns:
        What was read, in the order of the documents.

    Raises:
        ModelError: There is not enough memory for one document.
    """
    order = sorted(range(len(documents)), key=lambda i: (-length(documents[i]), i))
    found: dict[int, _T] = {}
    while len(found) < len(order):
        chosen = order[len(found) : len(found) + rows]
        try:
            results = read([documents[i] for i in chosen])
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(chosen) == 1:
                raise ModelError(
                    "out of memory with a single document in a batch; give a smaller model, "
                    "shorter prompts or another --device"
                ) from error
            rows = len(chosen) // 2
            clear_device_cache(garbage_collection=True)
            continue
        found |= zip(chosen, results, strict=True)
        done(len(chosen))
    return [found[i] for i in range(len(documents))]
