"""vLLM on CPU: a mixture of experts with `enable_lora` ends in Triton code, which is for GPUs."""

import os
import tempfile

import transformers
from vllm import LLM, SamplingParams

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # raises errors here

folder = tempfile.mkdtemp()
config = transformers.MixtralConfig(
    vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
    num_local_experts=2, num_experts_per_tok=1,
)  # fmt: skip
transformers.MixtralForCausalLM(config).save_pretrained(folder)
try:
    llm = LLM(
        folder, dtype="float32", max_model_len=32, enable_lora=True, enforce_eager=True,
        skip_tokenizer_init=True,
    )  # fmt: skip
    llm.generate({"prompt_token_ids": [4, 9]}, SamplingParams(max_tokens=1, detokenize=False))
except (AttributeError, RuntimeError) as error:
    print(f"{type(error).__name__}: {error}")
    assert "triton" in str(error)
else:
    raise AssertionError("it works")
