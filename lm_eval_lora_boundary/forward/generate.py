"""Greedy responses under every boundary, from shared forward passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .decode import Ending, Rows, decode_greedily
from .padding import padded
from .prefill import Branches
from .requests import Generate
from .routing import ForkedModel
from .split_model import SplitModel


def write_responses(
    model: SplitModel,
    forked: ForkedModel,
    prefix: Branches,
    skipped: int,
    requests: Sequence[Generate],
    ending: Ending,
) -> list[list[list[int]]]:
    """Write the responses to a batch of prompts.

    ``prefix`` is the beginning that all prompts share, ``skipped`` tokens read as one document.

    Returns:
        Token ids of the responses, by boundary (descending) and request.
    """
    branches = prefix.select([0] * len(requests))
    prompts = [request.prompt[skipped:] for request in requests]
    tokens, mask = padded(prompts, "left", branches.mask.device)
    count = len(requests)
    last = torch.full((count,), tokens.shape[1] - 1)
    places = torch.stack([torch.arange(count), last], dim=1).to(tokens.device)
    states = branches.read(tokens, mask, places)  # (boundaries, documents, hidden)
    first = model.greedy(states.flatten(0, 1)).view(len(states), count)
    responses = [[[token] for token in row] for row in first.tolist()]
    unfinished = [
        (boundary, document)
        for boundary, row in enumerate(responses)
        for document, response in enumerate(row)
        if not ending.reached(response)
    ]
    if unfinished:
        written = [responses[boundary][document] for boundary, document in unfinished]
        cache, mask = branches.rows(unfinished)
        boundaries = [forked.boundaries[boundary] for boundary, _ in unfinished]
        decode_greedily(model, forked, Rows(boundaries, written, cache, mask), ending)
    return responses
