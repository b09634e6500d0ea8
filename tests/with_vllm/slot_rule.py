"""Responses to requests without an adapter, batched with others, by vLLM's number of LoRA slots.

Usage: python slot_rule.py BASE ADAPTERS SLOTS…, where ADAPTERS is a folder of adapter folders.
Prints JSON: for each number of slots, how many of the base model's responses are the same as
without LoRA.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.lora.request import LoRARequest

    base, folder, *slots = sys.argv[1:]
    adapters = sorted(Path(folder).iterdir())
    prompts = [{"prompt_token_ids": [4 + i, 9, 14 + 2 * i, 7]} for i in range(8)]
    parameters = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    settings = {"enforce_eager": True, "dtype": "float32", "max_model_len": 64}
    settings |= {"disable_log_stats": True}

    def responses(llm: LLM, names: list[Path | None]) -> list[list[int]]:
        requests = [
            None if name is None else LoRARequest(name.name, 1 + adapters.index(name), str(name))
            for name in names
        ]
        rows = [(prompt, request) for request in requests for prompt in prompts]
        outputs = llm.generate(
            [prompt for prompt, _ in rows],
            parameters,
            lora_request=[request for _, request in rows],
            use_tqdm=False,
        )
        return [list(output.outputs[0].token_ids) for output in outputs]

    llm = LLM(model=base, **settings)
    truth = responses(llm, [None])
    del llm
    cleanup_dist_env_and_memory()
    found = {}
    for count in map(int, slots):
        llm = LLM(model=base, enable_lora=True, max_loras=count, max_lora_rank=8, **settings)
        mixed = responses(llm, [*adapters, None])[-len(prompts) :]
        alone = responses(llm, [None])
        found[count] = [
            sum(a == b for a, b in zip(answers, truth, strict=True)) for answers in (mixed, alone)
        ]
        del llm
        cleanup_dist_env_and_memory()
    print("FOUND", json.dumps({"prompts": len(prompts), "same": found}))


if __name__ == "__main__":
    main()
