"""lm-eval's `hf` ties weights after PEFT has wrapped the model, and scores with wrong ones."""

import tempfile

import peft
import tokenizers
import torch
import transformers
from lm_eval.models.huggingface import HFLM

folder = tempfile.mkdtemp()
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
    tie_word_embeddings=True,
)  # fmt: skip
transformers.LlamaForCausalLM(config).save_pretrained(f"{folder}/base")
words = tokenizers.models.WordLevel({f"w{i}": i for i in range(16)}, unk_token="w0")
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizers.Tokenizer(words), pad_token="w0", eos_token="w1"
)
load = transformers.AutoModelForCausalLM.from_pretrained
lora = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"])
trained = peft.get_peft_model(load(f"{folder}/base"), lora)
trained.get_input_embeddings().modules_to_save["default"].weight.data += 1
trained.save_pretrained(f"{folder}/adapter")

expected = peft.PeftModel.from_pretrained(load(f"{folder}/base"), f"{folder}/adapter").eval()
lm = HFLM(f"{folder}/base", peft=f"{folder}/adapter", tokenizer=tokenizer, device="cpu")
tokens = torch.arange(16)[None]
with torch.no_grad():
    difference = (expected(tokens).logits - lm.model(tokens).logits).abs().max().item()
print(f"PEFT's logits and those in lm-eval differ by up to {difference:.2f}")
assert difference > 0.01
