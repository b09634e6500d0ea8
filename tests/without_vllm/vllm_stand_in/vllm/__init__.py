"""A stand-in for vLLM, with what lm-eval's model and the verification of exports use.

It computes with transformers and PEFT. The argument ``fault``, which vLLM does not have, makes it
wrong in a way that engines have been wrong: see :data:`FAULTS`.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

# ignore the adapter; ignore some of its modules; scale it wrongly; mix up experts; compute another
# base model; write no log-probability; stop with an error
FAULTS = ("drop", "part", "half", "permute", "base", "nan", "stop")


class LLM:
    def __init__(self, *, fault: str | None = None, **arguments: Any) -> None:
        assert fault is None or fault in FAULTS
        if fault == "stop":
            raise RuntimeError("a kernel is missing")
        length = arguments.get("max_model_len") or 128
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))
        self._arguments = arguments
        self._fault = fault

    def generate(
        self, prompts: list[Any], parameters: list[Any], *, lora_request: Any, use_tqdm: bool
    ) -> list[Any]:
        assert not use_tqdm
        found = []
        model = self._model(lora_request)
        for prompt, chosen in zip(prompts, parameters, strict=True):
            assert len(prompt["prompt_token_ids"]) < self.llm_engine.model_config.max_model_len
            assert (chosen.max_tokens, chosen.temperature) == (1, 0)
            tokens = torch.tensor([prompt["prompt_token_ids"]])
            with torch.no_grad():
                logits = model(tokens, use_cache=False).logits[0, -1].float()
            if self._fault == "nan":
                logits = logits * torch.nan
            (token,) = chosen.allowed_token_ids
            share = torch.log_softmax(logits, dim=-1)[token].item()
            completion = SimpleNamespace(logprobs=[{token: SimpleNamespace(logprob=share)}])
            found.append(SimpleNamespace(outputs=[completion]))
        return found

    def _model(self, request: Any) -> Any:
        import peft
        import transformers

        load = transformers.AutoModelForCausalLM.from_pretrained
        dtype = getattr(torch, self._arguments["dtype"])
        model: Any = load(self._arguments["model"], dtype=dtype).eval()
        if self._fault == "base":
            model.get_output_embeddings().weight.data *= 1.5
        if request is None or self._fault == "drop":
            return model
        assert self._arguments["enable_lora"]
        model = peft.PeftModel.from_pretrained(model, request.lora_path).eval()
        for name, parameter in model.named_parameters():
            if self._fault == "half" and "lora_B" in name:
                parameter.data *= 0.5
            if self._fault == "part" and "lora_B" in name and "q_proj" in name:
                parameter.data *= 0
            if self._fault == "permute" and "lora_A" in name and ".experts." in name:
                rank = model.peft_config["default"].r  # experts are stacked, a rank each
                parameter.data = parameter.data.roll(rank, 0)
        return model


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 16
    logprobs: int | None = None
    allowed_token_ids: list[int] | None = None
    detokenize: bool = True


TokensPrompt = dict
