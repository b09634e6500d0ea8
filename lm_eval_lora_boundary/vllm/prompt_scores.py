"""A program that computes prompt log-probabilities in vLLM: ``… prompt_scores REQUEST ANSWER``.

It runs in a process of its own, so that nothing of vLLM stays in memory, and vLLM's messages can be
kept apart. REQUEST and ANSWER are JSON files; :mod:`.export_engine` writes the one and reads the
other.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the request, compute, and write the answer."""
    request, answer = map(Path, sys.argv[1:])
    scores = prompt_scores(**json.loads(request.read_text(encoding="utf-8")))
    answer.write_text(json.dumps(scores), encoding="utf-8")


def prompt_scores(
    arguments: dict[str, Any], adapters: list[dict[str, Any] | None], prompts: list[list[int]]
) -> list[list[list[float]]]:
    """Return the log-probability of every prompt token but the first, for each adapter.

    Args:
        arguments: Those of vLLM's ``LLM``.
        adapters: Arguments of vLLM's ``LoRARequest``, or None for no adapter.
        prompts: Token ids.
    """
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    llm = LLM(**arguments)
    # A request for each token, with what stands before it: prompt_logprobs would take one, but
    # vLLM computes those without the LoRA of the head, or fails (docs/upstream.md). This is also
    # how a server computes. The log-probability is that before the choice is narrowed.
    places = [(prompt, place) for prompt in prompts for place in range(1, len(prompt))]
    requests = [{"prompt_token_ids": prompt[:place]} for prompt, place in places]
    tokens = [prompt[place] for prompt, place in places]
    parameters = [
        SamplingParams(
            temperature=0, max_tokens=1, logprobs=1, allowed_token_ids=[token], detokenize=False
        )
        for token in tokens
    ]
    scores = []
    for adapter in adapters:
        outputs = llm.generate(
            requests,
            parameters,
            lora_request=None if adapter is None else LoRARequest(**adapter),
            use_tqdm=False,
        )
        found = iter(
            output.outputs[0].logprobs[0][token].logprob
            for token, output in zip(tokens, outputs, strict=True)
        )
        scores.append([list(islice(found, len(prompt) - 1)) for prompt in prompts])
    return scores


if __name__ == "__main__":
    main()
