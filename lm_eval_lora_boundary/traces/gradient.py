"""The derivative of a document's gold log-probability by the strength of every layer's LoRA.

A gate on the LoRA of each layer (:mod:`.gates`) and one backward pass give the derivatives by all
layers at once, at any strength of the whole adapter. :mod:`.layer_map` turns them into the map of
the layers and the curve of the boundaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..cuts.activated import invocation
from ..cuts.keep import Cut
from ..cuts.kinds import LORA
from ..errors import AdapterError, ModelError, NotFiniteError
from ..forward.loglikelihood import Batch, log_softmax, plain_score, scored_logits, scores_agree
from .batches import in_batches, length, usual_rows
from .gates import Gates, InseparableError, checkpointed
from .gold import Gold
from .lm import TraceLM
from .logit_lens import targets

Array = npt.NDArray[np.float64]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # the points of Boole's rule
_CHECKED = (0.0, 0.5, 1.0)
# As many rows as training has in a pass by default, so that a gradient needs no more memory.
_ROWS = 4


@dataclass(frozen=True)
class Gradient:
    """The gold answer of one document at several strengths of the whole adapter.

    Attributes:
        logprob: Log-probability of the answer, the sum over its tokens (nats), ``(strengths,)``.
        derivative: Its derivative by the strength of each layer, ``(strengths, layers)``.
    """

    logprob: Array
    derivative: Array


class Differentiator:
    """Computes gradients of documents."""

    def __init__(self, lm: TraceLM) -> None:
        """Prepare; this changes nothing.

        Args:
            lm: The model, at the whole adapter whenever gradients are computed.

        Raises:
            AdapterError: A strength between 0 and 1 has no meaning for the adapter.
        """
        if lm.cut.kind is not LORA:
            raise AdapterError(
                f"a gradient is defined for LoRA, and this adapter is {lm.cut.kind.name}; leave "
                "out the gradient, or sweep all boundaries"
            )
        if reason := lm.cut.obstacle():
            raise AdapterError(
                "a gradient needs an adapter that can be scaled in every layer, but this one "
                f"cannot ({reason}); leave out the gradient, or sweep all boundaries"
            )
        if invocation(lm.adapter.config):
            # PEFT tells the layers where to start in its own forward pass only, not when the
            # backward pass runs them again.
            raise AdapterError(
                "the adapter works only after certain tokens (alora_invocation_tokens), for which "
                "there is no gradient; leave it out, or sweep all boundaries"
            )
        self._lm = lm
        self._gates = Gates(lm.cut)
        stack = lm.cut.stack
        layers: nn.Module = lm.cut.model.get_base_model().get_submodule(stack.path)
        self._layers = list(layers.children())[: stack.count]
        self._together = self._gates.separable

    def check(self, documents: Sequence[Gold]) -> None:
        """Compare the shortest document with PEFT's own model at several strengths.

        And the two shortest documents in one batch with each alone: if they differ, the model
        mixes the rows of a batch, and every document gets a batch of its own.

        Raises:
            ModelError: Gates and PEFT's scaling differ, so a gradient would be of another model.
        """
        shortest, *others = sorted(documents, key=length)[:2]
        lm = self._lm
        for strength in _CHECKED:
            with torch.no_grad():
                ours = float(self._values([shortest], strength)[0])
            own = self._own_score(shortest, strength)
            if not scores_agree(ours, own, lm.model.dtype):
                raise ModelError(
                    f"{type(lm.model.get_base_model()).__name__} has no gradient with this "
                    f"adapter: scaled by {strength:g}, it gives a log-probability of {ours:.4f}, "
                    f"but PEFT's own model gives {own:.4f}"
                )
        if others and self._together:
            alone = [self._at([each], 1.0)[1][0] for each in (shortest, *others)]
            self._together = self._agree([shortest, *others], alone)

    def read(
        self,
        documents: Sequence[Gold],
        rows: int | None = None,
        done: Callable[[int], object] = lambda count: None,
    ) -> list[Gradient]:
        """Return the gradient of each document at :data:`STRENGTHS`.

        Args:
            documents: The documents.
            rows: Documents in a batch; None for as many as in training. Fewer if memory runs out.
            done: Called with the number of documents read, after every batch.

        Raises:
            ModelError: There is not enough memory for one document, or a number is not finite.
        """
        return in_batches(documents, rows or _ROWS, self._read_batch, done)

    def _read_batch(self, documents: Sequence[Gold]) -> list[Gradient]:
        values, derivatives = zip(*(self._each(documents, s) for s in STRENGTHS), strict=True)
        logprob, derivative = np.stack(values, axis=1), np.stack(derivatives, axis=1)
        for document, *found in zip(documents, logprob, derivative, strict=True):
            if not all(np.isfinite(numbers).all() for numbers in found):
                raise ModelError(
                    f"document {document.doc_id}: the gradient of "
                    f"{type(self._lm.model.get_base_model()).__name__} is NaN or infinite in "
                    f"{self._lm.model.dtype}; {NotFiniteError.REMEDY}"
                )
        return [Gradient(*each) for each in zip(logprob, derivative, strict=True)]

    def _each(self, documents: Sequence[Gold], strength: float) -> tuple[Array, Array]:
        """Return what :meth:`_at` does, in batches of one document where that is needed."""
        if self._together:
            try:
                return self._at(documents, strength)
            except InseparableError:
                self._together = False
        alone = [self._at([document], strength) for document in documents]
        values, derivatives = zip(*alone, strict=True)
        return np.concatenate(values), np.concatenate(derivatives)

    def _at(self, documents: Sequence[Gold], strength: float) -> tuple[Array, Array]:
        """Run the model forward and back with all gates at a strength.

        Returns:
            Log-probabilities, ``(documents,)``, and derivatives, ``(documents, layers)``.
        """
        batch, gold = _laid_out(self._lm, documents)
        with self._gates.at(strength, batch) as gates, checkpointed(self._layers):
            values = gold_logprobs(self._lm, batch, gold)
            # A row depends on its own gates only, so one pass gives the derivatives of all rows.
            (derivative,) = torch.autograd.grad(values.sum(), gates)
        return _array(values), _array(derivative.T)

    def _values(self, documents: Sequence[Gold], strength: float) -> Array:
        """Return log-probabilities with all gates at a strength, ``(documents,)``."""
        batch, gold = _laid_out(self._lm, documents)
        with self._gates.at(strength, batch):
            return _array(gold_logprobs(self._lm, batch, gold))

    def _own_score(self, document: Gold, strength: float) -> float:
        """Return a log-probability as PEFT's own model gives it, scaled by its own scaling."""
        lm = self._lm
        dtype = lm.softmax_dtype or torch.promote_types(lm.model.dtype, torch.float32)
        with lm.cut, lm.precision():
            lm.cut.move(Cut((strength,) * lm.layers))
            return plain_score(lm.cut.model, document.context, document.answer, lm.device, dtype)

    def _agree(self, documents: Sequence[Gold], alone: Sequence[Array]) -> bool:
        """Return whether documents in one batch have the derivatives that each has alone."""
        try:
            _, together = self._at(documents, 1.0)
        except InseparableError:
            return False
        dtype = self._lm.model.dtype
        sizes = [np.abs(each).max() for each in alone]
        return all(
            scores_agree(ours, own, dtype)
            for row, each, size in zip(together, alone, sizes, strict=True)
            for ours, own in zip(row / (size or 1), each / (size or 1), strict=True)
        )


def measure(
    lm: TraceLM,
    documents: Sequence[Gold],
    cuts: Iterable[Cut],
    rows: int | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> dict[Cut, Array]:
    """Measure the gold log-probability of documents under cuts, by forward passes.

    Cuts that keep the same modules are measured once.

    Args:
        lm: The model.
        documents: The documents.
        cuts: The cuts; each either keeps or drops a layer.
        rows: Documents in a batch; None for a number that should fit.
        done: Called with the number of documents read under a cut.

    Returns:
        For each cut the sum over the tokens of each document's answer, ``(documents,)``.
    """
    rows = rows or usual_rows(lm, documents)
    known: dict[frozenset[str], Array] = {}
    measured: dict[Cut, Array] = {}

    def read(some: Sequence[Gold]) -> list[float]:
        with torch.no_grad():
            values: list[float] = _array(gold_logprobs(lm, *_laid_out(lm, some))).tolist()
        for document, value in zip(some, values, strict=True):
            if not np.isfinite(value):
                raise ModelError(
                    f"document {document.doc_id}: its logits under {lm.cut.current} are NaN or "
                    f"infinite in {lm.model.dtype}; {NotFiniteError.REMEDY}"
                )
        return values

    with lm.cut:
        for cut in cuts:
            kept = frozenset(module.name for module in lm.cut.kept(cut))
            if kept in known:
                done(len(documents))
            else:
                lm.cut.move(cut)
                known[kept] = np.array(in_batches(documents, rows, read, done))
            measured[cut] = known[kept]
    return measured


def gold_logprobs(lm: TraceLM, batch: Batch, gold: torch.Tensor) -> torch.Tensor:
    """Run the model and return the log-probability of each row's answer, ``(batch,)``.

    Args:
        lm: The model.
        batch: Its inputs, and the positions that predict the answers.
        gold: The token of every scored position, ``(scored,)``.
    """

    def logits(tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = lm.model(input_ids=tokens, use_cache=False).logits
        return found

    with lm.precision():
        head = lm.cut.model.get_base_model().get_output_embeddings()
        scored = scored_logits(logits, head, batch)  # (scored, vocab)
        dtype = lm.softmax_dtype or torch.promote_types(scored.dtype, torch.float32)
        column = gold.to(scored.device).unsqueeze(1)
        tokens = log_softmax(scored, dtype).gather(1, column).squeeze(1)  # (scored,)
    return torch.stack([row.sum() for row in batch.split(tokens)])


def _laid_out(lm: TraceLM, documents: Sequence[Gold]) -> tuple[Batch, torch.Tensor]:
    """Return documents as a batch, and the gold token of every scored position."""
    pairs = [(each.context, each.answer) for each in documents]
    batch = Batch(pairs, lm.max_length, lm.device, lm.filler)
    return batch, targets([each.answer for each in documents], lm.device)


def _array(values: torch.Tensor) -> Array:
    found: Array = values.detach().cpu().double().numpy()
    return found
