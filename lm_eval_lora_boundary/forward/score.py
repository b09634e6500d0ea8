"""Log-likelihoods under many cuts, from shared forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from ..errors import NotFiniteError
from .loglikelihood import log_softmax
from .padding import padded
from .requests import Answers, Score
from .split_model import SplitModel
from .texts import Texts
from .transfers import indices


@dataclass
class _Passage:
    """Tokens that are read in one row of a pass, and what is scored there.

    Attributes:
        tokens: The tokens.
        parent: Row of the pass before that this one continues.
        scored: Position, target token and request of everything that is scored.
    """

    tokens: list[int]
    parent: int = 0
    scored: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass
class Scores:
    """Scores continuations under many cuts.

    Continuations of the same context are scored from one reading of it.

    Attributes:
        model: The model.
        cuts: Number of cuts.
        dtype: Precision of the softmax; None for that of the logits.
        goes_on: Whether the model can read several tokens after what is in its cache. Otherwise,
            the context is read again for each continuation.
    """

    model: SplitModel
    cuts: int
    dtype: torch.dtype | None
    goes_on: bool = True

    def answer(self, beginning: Texts, skipped: int, requests: Sequence[Score]) -> list[Answers]:
        """Score a batch, in which requests with the same context are next to each other.

        ``beginning`` is what all requests begin with, ``skipped`` tokens read as one text.

        Raises:
            NotFiniteError: A logit is NaN or infinite.
        """
        contexts, continuations = _plan(requests, skipped, self.goes_on)
        sums = torch.zeros(self.cuts, len(requests), dtype=torch.float64)
        greedy = torch.ones(self.cuts, len(requests), dtype=torch.bool)
        texts = beginning.select([0] * len(contexts), skipped + _longest(contexts))
        self._read(texts, contexts, "left", sums, greedy)
        _refuse_not_finite(sums, requests)
        if continuations:
            length = texts.mask.shape[1] + _longest(continuations)
            texts = texts.select([passage.parent for passage in continuations], length)
            self._read(texts, continuations, "right", sums, greedy)
            _refuse_not_finite(sums, requests)
        return [
            list(zip(logprobs, exact, strict=True))
            for logprobs, exact in zip(sums.T.tolist(), greedy.T.tolist(), strict=True)
        ]

    def _read(
        self,
        texts: Texts,
        passages: Sequence[_Passage],
        side: str,
        sums: torch.Tensor,
        greedy: torch.Tensor,
    ) -> None:
        """Read passages, and add their scores to the sums of the requests."""
        tokens, mask = padded([passage.tokens for passage in passages], side)
        width = tokens.shape[1]
        scored = []
        for row, passage in enumerate(passages):
            start = row * width + (width - len(passage.tokens) if side == "left" else 0)
            scored += [(start + position, *rest) for position, *rest in passage.scored]
        where, targets, requests = (torch.tensor(column) for column in zip(*scored, strict=True))
        places, place = torch.unique(where, return_inverse=True)
        wanted_at = torch.stack([places // width, places % width], dim=1)
        needed = texts.read(tokens, mask, wanted_at).flatten(0, 1)
        # every target under every cut: which row of `needed` predicts it
        count = self.cuts
        row = (torch.arange(count).unsqueeze(1) * len(places) + place).flatten()
        cut = torch.arange(count).repeat_interleave(len(place))
        target, request = targets.repeat(count), requests.repeat(count)
        order, found, right = [], [], []
        for piece, logits in self.model.pieces(needed):
            here = ((row >= piece.start) & (row < piece.stop)).nonzero().squeeze(1)
            index, wanted = indices([row[here] - piece.start, target[here]], logits.device)
            values = log_softmax(logits, self.dtype)[index, wanted]
            infinite = impossible(values, logits[index, wanted])
            order.append(here)
            found.append(values.masked_fill(infinite, torch.nan))
            right.append(logits.argmax(dim=-1)[index] == wanted)
        # only now, so that the host waits for the device once and not for every piece
        here, values = torch.cat(order), torch.cat(found).cpu().double()
        sums.index_put_((cut[here], request[here]), values, accumulate=True)
        wrong = here[~torch.cat(right).cpu()]
        greedy[cut[wrong], request[wrong]] = False


def impossible(log_probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return where log-probabilities of ``-inf`` come from infinite logits of the same tokens.

    Those of finite logits are roundings in half precision, which are small numbers and no fault.
    All have shape (tokens,).
    """
    return log_probs.isneginf() & logits.isinf()


def _refuse_not_finite(sums: torch.Tensor, requests: Sequence[Score]) -> None:
    """Raise a NotFiniteError if a sum of log-probabilities is NaN.

    The softmax makes every log-probability NaN if one logit is NaN or +inf, or if all are -inf. So
    looking at those of the targets is enough.

    ``sums`` has shape (cuts, requests).
    """
    wrong = sums.isnan().nonzero()
    if len(wrong):
        cut, number = wrong[0].tolist()
        request = requests[number]
        raise NotFiniteError(request.context, request.continuation, cut)


def _longest(passages: Sequence[_Passage]) -> int:
    return max(len(passage.tokens) for passage in passages)


def _plan(
    requests: Sequence[Score], skipped: int, share: bool
) -> tuple[list[_Passage], list[_Passage]]:
    """Return the contexts to read, and the continuations of contexts that have several."""
    contexts: list[_Passage] = []
    continuations: list[_Passage] = []
    numbered = enumerate(requests)
    for _, group in groupby(numbered, key=lambda item: item[1].context if share else item[0]):
        members = list(group)
        context = members[0][1].context
        passage = _Passage(list(context[skipped:]))
        contexts.append(passage)
        last = len(passage.tokens) - 1
        for number, request in members:
            first, *rest = request.continuation
            passage.scored.append((last, first, number))
            if rest and len(members) > 1:
                scored = [(i, token, number) for i, token in enumerate(rest)]
                tokens = list(request.continuation[:-1])
                continuations.append(_Passage(tokens, len(contexts) - 1, scored))
            elif rest:
                passage.scored += [(last + 1 + i, token, number) for i, token in enumerate(rest)]
                passage.tokens += request.continuation[:-1]
    return contexts, continuations
