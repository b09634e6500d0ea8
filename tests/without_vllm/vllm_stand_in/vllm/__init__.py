"""A stand-in for vLLM, with what lm-eval's model, a sweep and the verification of exports use.

It computes with transformers and PEFT. The argument ``fault``, which vLLM does not have, makes it
wrong in a way that engines have been wrong: see :data:`FAULTS`.
"""

from collections.abc import Sequence
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
        self, prompts: list[Any], sampling_params: list[Any], *, lora_request: Any, use_tqdm: bool
    ) -> list[Any]:
        assert not use_tqdm
        adapters = lora_request if isinstance(lora_request, list) else [lora_request] * len(prompts)
        models: dict[str | None, Any] = {}
        found = []
        for prompt, chosen, adapter in zip(prompts, sampling_params, adapters, strict=True):
            tokens = prompt["prompt_token_ids"]
            assert len(tokens) < self.llm_engine.model_config.max_model_len
            assert chosen.temperature == 0
            path = adapter and adapter.lora_path
            if path not in models:
                models[path] = self._model(adapter)
            written = self._write(models[path], tokens, chosen)
            read = self._read(models[path], tokens) if chosen.prompt_logprobs else None
            found.append(SimpleNamespace(outputs=[written], prompt_logprobs=read))
        return found

    def _read(self, model: Any, tokens: list[int]) -> list[Any]:
        """Return the log-probability of every token of a prompt but the first."""
        with torch.no_grad():
            logits = model(torch.tensor([tokens]), use_cache=False).logits[0].float()
        shares = torch.log_softmax(logits, dim=-1)
        return [
            None,
            *(
                {token: SimpleNamespace(logprob=shares[place, token].item())}
                for place, token in enumerate(tokens[1:])
            ),
        ]

    def _write(self, model: Any, tokens: list[int], chosen: Any) -> Any:
        """Return a response, with the log-probabilities of the chosen tokens if asked for."""
        import transformers

        written: list[int] = []
        places = []
        while len(written) < chosen.max_tokens:
            with torch.no_grad():
                logits = model(torch.tensor([tokens + written]), use_cache=False).logits[0, -1]
            logits = logits.float() * (torch.nan if self._fault == "nan" else 1)
            allowed = chosen.allowed_token_ids or range(len(logits))
            # as in vLLM, NaN is the largest number, and the shares are those of all tokens
            token = max(allowed, key=lambda each: (bool(logits[each].isnan()), logits[each].item()))
            share = torch.log_softmax(logits, dim=-1)[token].item()
            written.append(token)
            places.append({token: SimpleNamespace(logprob=share)})
            if token in chosen.stop_token_ids:
                break
        logprobs = None if chosen.logprobs is None else places
        text = ""
        if not self._arguments.get("skip_tokenizer_init"):
            load = transformers.AutoTokenizer.from_pretrained
            text = load(self._arguments["model"]).decode(written)
        return SimpleNamespace(token_ids=written, logprobs=logprobs, text=text)

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
    prompt_logprobs: int | None = None
    allowed_token_ids: list[int] | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True


TokensPrompt = dict
