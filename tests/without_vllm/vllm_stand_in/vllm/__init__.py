"""A stand-in for vLLM with what lm-eval's model uses when it is created."""

from types import SimpleNamespace
from typing import Any


class LLM:
    def __init__(self, **arguments: Any) -> None:
        length = arguments.get("max_model_len") or 128
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))


class SamplingParams:
    pass


TokensPrompt = dict
