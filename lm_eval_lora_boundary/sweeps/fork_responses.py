"""Greedy responses under every boundary, from shared forward passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..split import SplitModel
from .branches import Branches
from .decoding import Ending, Rows, decode_greedily
from .forked_model import ForkedModel
from .requests import Generate, shared_length
from .rows import padded

# Tokens of a draft that are read at once, and the share of documents × boundaries that must still
# agree with it to go on. Reading a token of a draft under all boundaries costs about a third of
# decoding it under each.
_DRAFT = 16
_AGREEING = 0.4


class Responses:
    """Writes responses under every boundary."""

    def __init__(self, model: SplitModel, forked: ForkedModel, *, drafts: bool) -> None:
        """Prepare.

        Args:
            model: The model.
            forked: Its routing.
            drafts: Take the response of the highest boundary as a draft for the others.
        """
        self._model = model
        self._forked = forked
        self._drafts = drafts and len(forked.boundaries) > 1

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
        first = self._read(branches, tokens, mask, [tokens.shape[1] - 1]).squeeze(-1)
        if self._drafts and (first == first[0]).float().mean() >= _AGREEING:
            return self._with_drafts(branches, first, ending)
        responses = [[[token] for token in row] for row in first.tolist()]
        self._finish(branches, responses, ending)
        return responses

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
        self._finish(branches, [drafts], ending, last=False)
        end = max(map(len, drafts)) - 1  # the last token of a response is never read
        predicted = first.unsqueeze(-1)  # (boundaries, documents, read + 1)
        read = 0
        while True:
            agreed = [
                [shared_length(row, draft) for row, draft in zip(rows, drafts, strict=True)]
                for rows in predicted.tolist()
            ]
            whole = [min(read + 1, len(draft)) for draft in drafts]
            agreeing = torch.tensor(agreed) == torch.tensor(whole)
            if read >= end or agreeing.float().mean() < _AGREEING:
                break
            chunks = [draft[:-1][read : read + _DRAFT] for draft in drafts]
            tokens, mask = padded(chunks, "right", branches.mask.device)
            predicted = torch.cat(
                [predicted, self._read(branches, tokens, mask, range(tokens.shape[1]))], dim=-1
            )
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
        *,
        last: bool = True,
    ) -> None:
        """Decode until all responses have ended.

        Args:
            branches: The prompts, and ``read`` tokens of drafts.
            responses: What has been written under each boundary for each document; extended in
                place. All of it but the last token is what the drafts begin with.
            ending: When a response ends.
            read: Number of tokens of the drafts that have been read.
            last: The branches are not needed any more.
        """
        pairs = [
            (boundary, document)
            for boundary, row in enumerate(responses)
            for document, response in enumerate(row)
            if not ending.reached(response)
        ]
        if not pairs:
            return
        written = [responses[boundary][document] for boundary, document in pairs]
        cache, mask = branches.rows(pairs, last=last)
        if read:
            # what was read of a draft beyond the response is masked, or forgotten
            valid = torch.tensor([len(response) - 1 for response in written], device=mask.device)
            mask[:, -read:] *= torch.arange(read, device=mask.device) < valid.unsqueeze(1)
            surplus = read - int(valid.max())
            if surplus:
                mask = mask[:, :-surplus]
                for layer in cache.layers:
                    layer.crop(-surplus)
        boundaries = [self._forked.boundaries[boundary] for boundary, _ in pairs]
        rows = Rows(boundaries, written, cache, mask)
        decode_greedily(self._model, self._forked, rows, ending)
