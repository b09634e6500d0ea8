"""A tiny random model that can read any text: its tokens are bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import transformers
from tiny_models import tiny_model

_CHAT = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def write_base(folder: Path, architecture: str, **config: Any) -> Any:
    """Write a base model with its tokenizer, and return the model."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["text"],
        tokenizers.trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", chat_template=_CHAT
    ).save_pretrained(folder)
    model = tiny_model(architecture, vocab_size=300, max_position_embeddings=2048, **config)
    model.save_pretrained(folder)
    return model
