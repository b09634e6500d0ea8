"""A tokenizer of letters, whose tokens end responses in many ways, and a wrong rule."""

from __future__ import annotations

from typing import Any

import tokenizers
import transformers
from tiny_models import VOCABULARY

from lm_eval_lora_boundary.harness.endings import Ending

EOS, OTHER_EOS = "</s>", "<|end|>"


def spelling_tokenizer() -> Any:
    """Build a tokenizer of a few letters, pairs of them, and special tokens."""
    special = ["<pad>", "<s>", EOS, "<unk>", OTHER_EOS, "<|chat|>"]
    letters = ["a", "b", "q", "/", "s", "<", ">", " ", "\n"]
    pairs = [x + y for x in letters for y in letters][: VOCABULARY - len(special) - len(letters)]
    words = special + letters + pairs
    merges = [(pair[0], pair[1]) for pair in pairs]
    bpe = tokenizers.models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token=EOS,
        unk_token="<unk>",
        additional_special_tokens=[OTHER_EOS, "<|chat|>"],
    )


class Forgetful(Ending):
    """Ignores empty strings."""

    def reached(self, response: Any) -> bool:
        without = Ending(self.tokens, [s for s in self.strings if s], self.limit, self.tokenizer)
        return without.reached(response)
