"""lm-eval's `hf` ends with an error for an adapter with a saved head on a tied base model."""

import tempfile

import peft
import tokenizers
import transformers
from lm_eval.models.huggingface import HFLM

folder = tempfile.mkdtemp()
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
for extra in ({"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [3, 4]}):
    lora = peft.LoraConfig(target_modules=["q_proj"], **extra)
    peft.get_peft_model(load(f"{folder}/base"), lora).save_pretrained(f"{folder}/adapter")
    peft.PeftModel.from_pretrained(load(f"{folder}/base"), f"{folder}/adapter")  # works
    try:
        HFLM(f"{folder}/base", peft=f"{folder}/adapter", tokenizer=tokenizer, device="cpu")
    except (AttributeError, KeyError) as error:
        print(f"{extra}: {type(error).__name__}: {error}")
    else:
        raise AssertionError(f"{extra}: loaded")
