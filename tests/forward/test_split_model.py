"""The decoder is run by itself, with a cache under its own name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from tiny_models import tiny_model

from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward.kv_cache import growing_cache
from lm_eval_lora_boundary.forward.split_model import SplitModel

TOLERANCE = 2e-5  # batches of other sizes round fp32 sums differently


def rename_cache(decoder: Any, name: str) -> None:
    """Rename the cache argument of a decoder, as a model's own code may."""
    forward = decoder.forward
    accepted = inspect.signature(forward).parameters
    real = next(argument for argument in ("cache", "past_key_values") if argument in accepted)
    arguments = ("input_ids", "attention_mask", "position_ids", "use_cache", name)
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(a, keyword) for a in arguments])

    def renamed(**inputs: Any) -> Any:
        signature.bind_partial(**inputs)  # a TypeError if it has no such argument
        return forward(**{real if k == name else k: value for k, value in inputs.items()})

    renamed.__signature__ = signature  # type: ignore[attr-defined]
    decoder.forward = renamed


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@torch.no_grad()
def test_the_cache_is_passed_under_the_decoders_own_name(name: str) -> None:
    model = tiny_model()
    tokens, mask = torch.arange(4, 12).reshape(2, 4), torch.ones((2, 4), dtype=torch.long)
    whole = SplitModel(model).hidden(tokens, mask)
    rename_cache(model.model, name)
    split = SplitModel(model)
    cache = growing_cache(model.config)
    parts = [
        split.hidden(tokens[:, :3], mask[:, :3], cache),
        split.hidden(tokens[:, 3:], mask, cache),
    ]
    assert cache.get_seq_length() == 4
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_decoder_without_a_cache_is_refused() -> None:
    model = tiny_model()
    rename_cache(model.model, "memory")
    with pytest.raises(ModelError, match=r"takes no cache; expected .*cache or past_key_values"):
        SplitModel(model)
