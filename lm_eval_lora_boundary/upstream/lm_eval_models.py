"""The insides of lm-eval's models: how they batch, stop and clean up what was generated."""

from __future__ import annotations

from lm_eval.models.utils import (
    Collator,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.models.utils_hf import MultiTokenEOSCriteria, stop_sequences_criteria

__all__ = [
    "Collator",
    "MultiTokenEOSCriteria",
    "handle_stop_sequences",
    "normalize_gen_kwargs",
    "postprocess_generated_text",
    "stop_sequences_criteria",
]
