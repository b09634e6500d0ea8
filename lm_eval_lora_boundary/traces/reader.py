"""Read the gold answers of documents at every layer, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..cuts.activated import on_head
from ..errors import AdapterError, ModelError, NotFiniteError
from ..forward.loglikelihood import Batch, log_softmax, plain_score, scores_agree
from .batches import in_batches, length, usual_rows
from .gold import Gold
from .lm import TraceLM
from .logit_lens import LayerReadout, last_of_rows, targets

_IN_CACHE = 1 << 19  # logits whose softmax fits into a CPU's cache: three times as fast


@dataclass(frozen=True)
class Reading:
    """The gold tokens of one document, read out at every layer.

    Attributes:
        logprob: Their log-probabilities (natural logarithm), ``(layers, tokens)``.
        rank: How many tokens have a larger logit, ``(layers, tokens)``.
    """

    logprob: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """The probabilities of the gold tokens, ``(layers, tokens)``."""
        return np.exp(self.logprob)


class Reader:
    """Reads documents with the model at its current boundary."""

    def __init__(self, lm: TraceLM) -> None:
        """Prepare; this changes nothing.

        Args:
            lm: The model; its boundary may move between calls.

        Raises:
            AdapterError: The adapter changes the output head for a part of each text.
        """
        self._lm = lm
        self._model = lm.cut.model.get_base_model()
        if on_head(self._model, lm.adapter.config):
            raise AdapterError(
                "the adapter changes the output head after certain tokens "
                "(alora_invocation_tokens), but a trace reads layers out token by token, so it "
                "cannot be traced; run a sweep instead"
            )
        self._readout = LayerReadout(self._model, lm.cut.stack, lm.model)

    def check(self, documents: Sequence[Gold]) -> None:
        """Compare the reading of the shortest document with PEFT's own model.

        Raises:
            ModelError: They differ, so a trace would be of another model.
        """
        document = min(documents, key=length)
        (reading,) = self._read_batch([document])
        lm = self._lm
        dtype = lm.softmax_dtype or torch.float32
        with lm.precision():
            own = plain_score(lm.cut.model, document.context, document.answer, lm.device, dtype)
        self._compare(float(reading.logprob[-1].sum()), own, "PEFT's own model, called directly,")

    def read(
        self,
        documents: Sequence[Gold],
        rows: int | None = None,
        done: Callable[[int], object] = lambda count: None,
    ) -> list[Reading]:
        """Read documents, longest first, and fewer at once if memory runs out.

        Args:
            documents: The documents.
            rows: Documents in a batch; None for a number that should fit.
            done: Called with the number of documents read, after every batch.

        Returns:
            A reading for each document.

        Raises:
            ModelError: There is not enough memory for one document, or the model does something
                between its layers and its logits that cannot be applied to a single layer.
        """
        return in_batches(
            documents, rows or usual_rows(self._lm, documents), self._read_batch, done
        )

    def _read_batch(self, documents: Sequence[Gold]) -> list[Reading]:
        """Run the model once, and read every layer."""
        lm = self._lm
        pairs = [(each.context, each.answer) for each in documents]
        batch = Batch(pairs, lm.max_length, lm.device, lm.filler)
        gold = targets([each.answer for each in documents], lm.device)  # (scored,)
        with torch.no_grad(), lm.precision():
            states, own = self._readout.states(batch)
            layers, scored, hidden = states.shape
            logprob, rank = self._gold_columns(states.view(-1, hidden), gold.repeat(layers))
            ends = last_of_rows(batch)
            expected, _ = self._column(own, gold[ends])
        logprobs = logprob.view(layers, scored).double().cpu().numpy()
        ranks = rank.view(layers, scored).cpu().numpy()
        self._check_finite(logprobs, batch.lengths, documents)
        for ours, theirs in zip(logprobs[-1, ends.cpu().numpy()], expected.tolist(), strict=True):
            self._compare(float(ours), theirs, "the model itself")
        parts = np.cumsum(batch.lengths)[:-1]
        columns = (np.split(array, parts, axis=1) for array in (logprobs, ranks))
        return [Reading(*each) for each in zip(*columns, strict=True)]

    def _gold_columns(
        self, states: torch.Tensor, gold: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probability and rank of one token after each state, both ``(states,)``."""
        logprobs, ranks = zip(
            *(self._column(logits, gold[piece]) for piece, logits in self._readout.logits(states)),
            strict=True,
        )
        return torch.cat(logprobs), torch.cat(ranks)

    def _column(
        self, logits: torch.Tensor, gold: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probability and rank of one token for each row of ``(rows, vocab)``."""
        gold = gold.to(logits.device).unsqueeze(1)
        # Half precision would round probabilities to steps of almost one percent.
        dtype = self._lm.softmax_dtype or torch.float32
        on_cpu = logits.device.type == "cpu"
        size = max(1, _IN_CACHE // logits.shape[1]) if on_cpu else len(logits)
        log_probs, ranks = [], []
        for some, token in zip(torch.split(logits, size), torch.split(gold, size), strict=True):
            log_probs.append(log_softmax(some, dtype).gather(1, token))
            # Floats are summed several times faster than booleans, and exactly up to 2^24.
            larger = torch.empty(some.shape, dtype=torch.float32, device=some.device)
            torch.gt(some, some.gather(1, token), out=larger)
            ranks.append(larger.sum(dim=1).long())
        return torch.cat(log_probs).squeeze(1), torch.cat(ranks)

    def _check_finite(
        self,
        logprobs: npt.NDArray[np.float64],
        lengths: Sequence[int],
        documents: Sequence[Gold],
    ) -> None:
        """Refuse log-probabilities (layers, scored) that are not all finite."""
        wrong = np.argwhere(~np.isfinite(logprobs))
        if len(wrong):
            layer, place = wrong[0]  # the lowest layer
            document = documents[int(np.searchsorted(np.cumsum(lengths), place, side="right"))]
            raise ModelError(
                f"document {document.doc_id}: the logits of {type(self._model).__name__} read out "
                f"at layer {layer} are NaN or infinite in {self._lm.model.dtype}; "
                f"{NotFiniteError.REMEDY}"
            )

    def _compare(self, ours: float, own: float, whose: str) -> None:
        """Compare what the last layer reads out with another log-probability."""
        if not scores_agree(ours, own, self._lm.model.dtype):
            raise ModelError(
                f"{type(self._model).__name__} cannot be traced with this adapter: its last layer "
                f"reads out a log-probability of {ours:.4f}, but {whose} gives {own:.4f}"
            )
