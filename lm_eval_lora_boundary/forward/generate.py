"""Greedy responses under every boundary, from shared forward passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..harness.endings import Ending
from .decode import Rows, decode_greedily
from .drafting import Draft, Stopwatch
from .padding import padded
from .prefill import Branches
from .requests import Generate, shared_length
from .routing import ForkedModel
from .split_model import SplitModel

_DRAFT = 16  # tokens of a draft that are read at once


@dataclass(frozen=True)
class Drafts:
    """What is used as a draft.

    Attributes:
        whole: The response of the highest boundary, for all others, as long as this share of them
            agrees with it; None for not at all.
        neighbours: The responses of the boundaries next to it, for every second boundary.
    """

    whole: float | None = None
    neighbours: bool = False


class Responses:
    """Writes responses under every boundary."""

    def __init__(
        self,
        model: SplitModel,
        forked: ForkedModel,
        drafts: Drafts = Drafts(),
        watch: Stopwatch | None = None,
    ) -> None:
        """Prepare.

        Args:
            model: The model.
            forked: Its routing.
            drafts: The drafts to use.
            watch: Takes the time of what is done without drafts.
        """
        self._model = model
        self._forked = forked
        self._drafts = drafts
        self._watch = watch

    def answer(
        self, prefix: Branches, skipped: int, requests: Sequence[Generate], ending: Ending
    ) -> list[list[list[int]]]:
        """Answer a batch.

        Args:
            prefix: What has been read of every request, one document.
            skipped: How many tokens that is.
            requests: The requests.
            ending: When a response ends.

        Returns:
            Token ids of the responses, for every boundary (descending) and request.
        """
        branches = prefix.select([0] * len(requests))
        prompts = [request.prompt[skipped:] for request in requests]
        tokens, mask = padded(prompts, "left", branches.mask.device)
        started = time.perf_counter()
        first = self._read(branches, tokens, mask, [tokens.shape[1] - 1]).squeeze(-1).cpu()
        if self._watch is not None:
            self._watch.read(tokens.shape[1], time.perf_counter() - started)
        if self._enough(first == first[0]):
            return self._with_drafts(branches, first, ending)
        responses = [[[token] for token in row] for row in first.tolist()]
        self._finish(branches, responses, ending)
        return responses

    def _enough(self, agreeing: torch.Tensor) -> bool:
        """Tell whether so many agree with the response of the highest boundary as to read on."""
        least = self._drafts.whole
        return least is not None and float(agreeing.float().mean()) >= least

    def _read(
        self, branches: Branches, tokens: torch.Tensor, mask: torch.Tensor, columns: Sequence[int]
    ) -> torch.Tensor:
        """Read on and return the most likely next tokens, shape (boundaries, D, columns)."""
        places = torch.cartesian_prod(torch.arange(len(tokens)), torch.tensor(columns))
        states = branches.read(tokens, mask, places.to(tokens.device))
        return self._model.greedy(states.flatten(0, 1)).view(len(states), len(tokens), -1)

    def _with_drafts(
        self, branches: Branches, first: torch.Tensor, ending: Ending
    ) -> list[list[list[int]]]:
        """Write the responses of the highest boundary, and read them under all others.

        ``first`` holds the first tokens of all responses, shape (boundaries, documents).

        As far as a boundary agrees with the draft, its response is written; from there on it is
        decoded as usual. Reading stops when too few agree, so that little is read in vain.
        """
        drafts = [[token] for token in first[0].tolist()]
        self._decode(branches, [drafts], self._unfinished([drafts], ending), ending, last=False)
        end = max(map(len, drafts)) - 1  # the last token of a response is never read
        predicted = first.unsqueeze(-1)  # (boundaries, documents, read + 1), on CPU
        read = 0
        while True:
            agreed = [
                [shared_length(row, draft) for row, draft in zip(rows, drafts, strict=True)]
                for rows in predicted.tolist()
            ]
            whole = [min(read + 1, len(draft)) for draft in drafts]
            if read >= end or not self._enough(torch.tensor(agreed) == torch.tensor(whole)):
                break
            chunks = [draft[:-1][read : read + _DRAFT] for draft in drafts]
            tokens, mask = padded(chunks, "right", branches.mask.device)
            more = self._read(branches, tokens, mask, range(tokens.shape[1])).cpu()
            predicted = torch.cat([predicted, more], dim=-1)
            read += tokens.shape[1]
        responses = [
            [
                draft[:length] + ([row[length]] if length < known else [])
                for draft, length, known, row in zip(drafts, lengths, whole, rows, strict=True)
            ]
            for lengths, rows in zip(agreed, predicted.tolist(), strict=True)
        ]
        self._finish(branches, responses, ending, read)
        return responses

    def _finish(
        self,
        branches: Branches,
        responses: Sequence[Sequence[list[int]]],
        ending: Ending,
        read: int = 0,
    ) -> None:
        """Decode until all responses have ended; the branches are used up.

        Args:
            branches: The prompts, and ``read`` tokens of drafts.
            responses: What has been written under each boundary for each document; extended in
                place. All of it but the last token is what the drafts begin with.
            ending: When a response ends.
            read: Number of tokens of the drafts that have been read.
        """
        pairs = self._unfinished(responses, ending)
        if not self._drafts.neighbours:
            self._decode(branches, responses, pairs, ending, read, watch=self._watch)
            return
        # of the boundaries that are left of a document, every second one waits for the others
        waiting: list[tuple[int, int]] = []
        for document in range(branches.documents):
            waiting += [pair for pair in pairs if pair[1] == document][1::2]
        waiting.sort()
        before = sorted(set(pairs) - set(waiting))
        self._decode(branches, responses, before, ending, read, last=not waiting)
        drafts = []
        for boundary, document in waiting:
            beside = responses[max(0, boundary - 1) : boundary + 2 : 2]
            drafts.append(Draft([row[document] for row in beside]))
        self._decode(branches, responses, waiting, ending, read, drafts)

    def _unfinished(
        self, responses: Sequence[Sequence[list[int]]], ending: Ending
    ) -> list[tuple[int, int]]:
        """Return boundary and document, as indices, of what has not ended."""
        return [
            (boundary, document)
            for boundary, row in enumerate(responses)
            for document, response in enumerate(row)
            if not ending.reached(response)
        ]

    def _decode(
        self,
        branches: Branches,
        responses: Sequence[Sequence[list[int]]],
        pairs: Sequence[tuple[int, int]],
        ending: Ending,
        read: int = 0,
        drafts: Sequence[Draft] = (),
        *,
        last: bool = True,
        watch: Stopwatch | None = None,
    ) -> None:
        """Decode some of the responses, by boundary and document, to their end."""
        if not pairs:
            return
        written = [responses[boundary][document] for boundary, document in pairs]
        cache, mask = branches.rows(pairs, last=last)
        boundaries = [self._forked.boundaries[boundary] for boundary, _ in pairs]
        rows = Rows(boundaries, written, cache, mask, list(drafts))
        if read:
            rows.accept(read, [len(response) - 1 for response in written])
        decode_greedily(self._model, self._forked, rows, ending, watch)
