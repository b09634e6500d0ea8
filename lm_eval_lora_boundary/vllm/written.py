"""What vLLM says about the tokens of a response."""

from __future__ import annotations

from typing import Any

# No other tokens than the chosen ones: vLLM writes on after NaN, and only this shows it.
ONLY_CHOSEN = 0  # for ``logprobs``


def log_probs(output: Any) -> list[float]:
    """Return the log-probability of every token of a response, asked for with ONLY_CHOSEN."""
    written = output.outputs[0]
    places = zip(written.token_ids, written.logprobs, strict=True)
    return [float(place[token].logprob) for token, place in places]
