"""PEFT ignores `layers_to_transform` where `target_modules` holds full paths of modules."""

import peft
import transformers
from peft.tuners.lora import LoraLayer

config = transformers.LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=1
)
paths = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)]
found = {}
for targets in (["q_proj"], paths):
    lora = peft.LoraConfig(target_modules=targets, layers_to_transform=[0])
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)
    modules = model.base_model.model.named_modules()
    found[targets[0]] = [name for name, module in modules if isinstance(module, LoraLayer)]
for targets, names in found.items():
    print(f"target_modules=[{targets!r}, …], layers_to_transform=[0]: LoRA in {names}")
assert found["q_proj"] == paths[:1]
assert found[paths[0]] == paths
