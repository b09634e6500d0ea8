"""Made-up facts about an adapter and its evaluation, and the note they give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lm_eval_lora_boundary.harness.provenance.facts import (
    LM_EVAL,
    Asked,
    InUse,
    Stops,
    Template,
    Token,
    Trained,
)
from lm_eval_lora_boundary.harness.provenance.notes import KINDS, Found, notes

BASE = "Qwen/Qwen2.5-7B"
PACKED = "unsloth/Qwen2.5-7B-bnb-4bit"
AWQ = "Qwen/Qwen2.5-7B-AWQ"
COMMIT, OTHER_COMMIT = "0123456789abcdef" * 2 + "01234567", "f" * 40
OURS, THEIRS = Template("ours", "<s>user Hello"), Template("theirs", "<s>[INST] Hello")
END, OTHER_END = Token(2, "</s>"), Token(7, "<|im_end|>")
STOPS = Stops((END,), ("\n\n", "</s>"))
TRAINED = Trained("ADAPTER", base=BASE)
USED = InUse(base=BASE, revision="main", bits=16, precision="bfloat16", bos=1)


def made(
    kind: str,
    *,
    trained: dict[str, Any] | None = None,
    used: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    spelling: Any = LM_EVAL,
) -> str | None:
    """Return the text of a note of this kind, or None."""
    made = notes(
        Found(
            replace(TRAINED, **(trained or {})),
            replace(USED, **(used or {})),
            replace(Asked(), **(asked or {})),
            spelling,
        )
    )
    texts = {note["kind"]: note["text"] for note in made}
    assert texts.keys() <= KINDS.keys()
    return texts.get(kind)
