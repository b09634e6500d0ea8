"""The lm-eval model of a trace: lm-eval builds the requests, and none is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance

from ..harness.sweep_lm import SweepLM
from ..upstream.lm_eval import request


class TraceLM(SweepLM):
    """A model whose boundary can be moved, and whose answers are not used."""

    generates = False

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the tokens that lm-eval's ``hf`` would score for a request.

        Returns:
            Tokens of both; at least one of the context.
        """
        score = request("loglikelihood", (context, continuation), 0)
        tokens: list[Any] = super(SweepLM, self).loglikelihood([score], disable_tqdm=True)
        ((before, after),) = tokens
        # The first token of the answer must be predicted from something.
        return before or [self.prefix_token_id], after

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], *_: Any, **__: Any
    ) -> list[Any]:
        return [(before, after) for _, before, after in requests]

    # --- called by lm-eval after it has built the requests

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return empty responses."""
        del disable_tqdm
        self.see(requests)
        return [""] * len(requests)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Return empty scores."""
        del disable_tqdm
        self.see(requests)
        return [(0.0, False)] * len(requests)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Return empty scores."""
        del disable_tqdm
        self.see(requests)
        return [0.0] * len(requests)
