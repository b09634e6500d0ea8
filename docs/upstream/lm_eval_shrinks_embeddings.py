"""lm-eval's `hf` with `peft=` cuts a padded vocabulary down to the tokenizer's size."""

import tempfile

import peft
import tokenizers
import transformers
from lm_eval.models.huggingface import HFLM

folder = tempfile.mkdtemp()
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
)
base = transformers.LlamaForCausalLM(config)
base.save_pretrained(f"{folder}/base")
peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(
    f"{folder}/adapter"
)
words = tokenizers.models.WordLevel({f"w{i}": i for i in range(60)}, unk_token="w0")
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizers.Tokenizer(words), pad_token="w0", eos_token="w1"
)
rows = []
for adapter in (None, f"{folder}/adapter"):
    lm = HFLM(f"{folder}/base", peft=adapter, tokenizer=tokenizer, device="cpu")
    rows.append(lm.model.get_output_embeddings().weight.shape[0])
print(f"rows of the head without the adapter: {rows[0]}, with it: {rows[1]}")
assert rows == [64, 60]
