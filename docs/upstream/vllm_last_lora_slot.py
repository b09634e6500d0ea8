"""vLLM on CPU: in a batch with LoRA, requests without an adapter read the last LoRA slot."""

import tempfile

import peft
import torch
import transformers
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

folder = tempfile.mkdtemp()
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
)  # fmt: skip
base = transformers.LlamaForCausalLM(config)
base.save_pretrained(f"{folder}/base")
model = peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
for name, parameter in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(parameter)
model.save_pretrained(f"{folder}/adapter")

llm = LLM(
    f"{folder}/base", dtype="float32", max_model_len=32, enable_lora=True, max_loras=1,
    max_lora_rank=8, lora_target_modules=["q_proj", "v_proj"], enforce_eager=True,
    skip_tokenizer_init=True, enable_prefix_caching=False,
)  # fmt: skip
prompt = {"prompt_token_ids": [4, 9, 14, 7]}
parameters = SamplingParams(
    temperature=0, max_tokens=1, logprobs=1, allowed_token_ids=[5], detokenize=False
)
lora = LoRARequest("a", 1, f"{folder}/adapter")


def score(requests):
    outputs = llm.generate([prompt] * len(requests), parameters, lora_request=requests)
    return outputs[-1].outputs[0].logprobs[0][5].logprob


alone, mixed, adapted = score([None]), score([lora, None]), score([lora])
print(f"log-probability without an adapter: {alone:.3f}; in a batch with LoRA: {mixed:.3f}")
print(f"with the adapter: {adapted:.3f}")
assert abs(alone - mixed) > 0.01 and abs(mixed - adapted) < 0.01
