from typing import Any

import transformers


def get_tokenizer(name: str, *, tokenizer_mode: str = "auto", **arguments: Any) -> Any:
    del tokenizer_mode
    return transformers.AutoTokenizer.from_pretrained(name, **arguments)
