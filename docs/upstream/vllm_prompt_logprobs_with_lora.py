"""vLLM on CPU: prompt log-probabilities with any LoRA end with a shape error."""

import os
import tempfile

import peft
import transformers
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # raises errors here
folder = tempfile.mkdtemp()
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
)  # fmt: skip
base = transformers.LlamaForCausalLM(config)
base.save_pretrained(f"{folder}/base")
peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules=["q_proj"])).save_pretrained(
    f"{folder}/adapter"
)
llm = LLM(
    f"{folder}/base", dtype="float32", max_model_len=32, enable_lora=True, max_lora_rank=8,
    enforce_eager=True, skip_tokenizer_init=True,
)  # fmt: skip
prompts = [{"prompt_token_ids": [4 + i, 9, 14, 7, 6, 8, 5]} for i in range(3)]
parameters = SamplingParams(max_tokens=1, prompt_logprobs=1, detokenize=False)
try:
    llm.generate(prompts, parameters, lora_request=LoRARequest("a", 1, f"{folder}/adapter"))
except RuntimeError as error:
    print(f"RuntimeError: {error}")
    assert "einsum" in str(error)
else:
    raise AssertionError("prompt log-probabilities are computed")
