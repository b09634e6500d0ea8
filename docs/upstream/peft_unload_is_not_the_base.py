"""PEFT's `unload()` does not give the base model back, without a warning.

It keeps trained copies of modules, trained biases, and base weights that an init has changed.
"""

import copy

import peft
import torch
import transformers

torch.manual_seed(0)
config = transformers.GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=1)
base = transformers.GPT2LMHeadModel(config).eval()
tokens = torch.arange(16)[None]
settings = {
    "modules_to_save": {"modules_to_save": ["ln_f"]},
    "bias": {"bias": "all"},
    "init": {"init_lora_weights": "pissa"},
}
for name, extra in settings.items():
    lora = peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, **extra)
    model = peft.get_peft_model(copy.deepcopy(base), lora).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.5  # stands for training
    with torch.no_grad():
        expected = base(tokens).logits
        with model.disable_adapter():
            disabled = (model(tokens).logits - expected).abs().max().item()
        unloaded = (model.unload()(tokens).logits - expected).abs().max().item()
    print(f"{name}: disable_adapter() is off by {disabled:.3f}, unload() by {unloaded:.3f}")
    assert unloaded > 0.01
    assert (disabled > 0.01) == (name != "modules_to_save")
