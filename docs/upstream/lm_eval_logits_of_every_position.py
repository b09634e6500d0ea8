"""For a log-likelihood, lm-eval's `hf` computes the logits of all positions of the prompt."""

import tokenizers
import transformers
from lm_eval.models.huggingface import HFLM

config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
)
words = tokenizers.models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0")
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizers.Tokenizer(words), pad_token="w0", eos_token="w1"
)
model = transformers.LlamaForCausalLM(config).eval()
shapes = []
model.lm_head.register_forward_hook(lambda _, __, logits: shapes.append(tuple(logits.shape)))
lm = HFLM(model, tokenizer=tokenizer, device="cpu", batch_size=1)
lm._loglikelihood_tokens([(("", ""), list(range(2, 50)), [50])], disable_tqdm=True)
print(f"one token is scored; the head computes logits of shape {shapes[0]}")
assert shapes == [(1, 48, 64)]  # (1, 1, 64) with logits_to_keep=1
