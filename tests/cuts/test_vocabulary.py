"""Vocabularies that adapters grow: only by what the file holds, and only on that side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from model_helpers import TOKENS, logits, make
from tiny_models import (
    VOCABULARY,
    grown_adapter,
    lora_config,
    randomise,
    tiny_model,
    tiny_tokenizer,
)

from lm_eval_lora_boundary.errors import AdapterError


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_fact_2_vocabularies_grow_when_the_adapter_says_so(
    tiny: Any, tmp_path: Path, tied: bool
) -> None:
    """PEFT saves resized embeddings whole. The depth rule restores each side."""
    base, _ = tiny("llama", tied=tied)
    model = tiny_model(tied=tied)
    model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    trained = randomise(peft.get_peft_model(model, lora_config()))
    trained.get_input_embeddings().weight.data += 0.1
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    with torch.no_grad():
        expected = trained.eval()(TOKENS).logits
    whole = make(base, tmp_path / "adapter")
    assert torch.equal(logits(whole), expected)
    cut = make(base, tmp_path / "adapter", boundary=1)
    assert cut.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 3
    assert logits(cut).shape[-1] == VOCABULARY
    bare = make(base, tmp_path / "adapter", boundary=-1)
    assert torch.equal(logits(bare), logits(make(base)))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [64, 65]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*(tied|save_embedding_layers).*:UserWarning")
def test_every_way_to_train_new_tokens(
    tiny: Any, tmp_path: Path, tied: bool, config: dict[str, Any]
) -> None:
    base, _ = tiny("llama", tied=tied)
    with torch.no_grad():
        expected = grown_adapter(tmp_path, tied=tied, **config)(TOKENS).logits
    if "modules_to_save" in config and tied:
        pytest.skip("PEFT saves one copy of two tied modules")
    assert torch.equal(logits(make(base, tmp_path)), expected)
    assert torch.equal(logits(make(base, tmp_path, boundary=-1)), logits(make(base)))
    cut = make(base, tmp_path, boundary=1)
    assert cut.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 3
    assert torch.equal(logits(cut), logits(make(base, tmp_path, boundary=1)))


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_only_the_side_in_the_file_grows(tiny: Any, tmp_path: Path) -> None:
    """Untrained rows of a head would add noise to every softmax."""
    base, _ = tiny()
    config = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    grown_adapter(tmp_path, tied=False, save=False, **config)
    lm = make(base, tmp_path)
    assert lm.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 3
    assert logits(lm).shape[-1] == VOCABULARY


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_new_rows_that_were_not_saved_are_refused(tiny: Any, tmp_path: Path) -> None:
    base, _ = tiny()
    grown_adapter(tmp_path, tied=False, save=False, target_modules=["embed_tokens"])
    with pytest.raises(AdapterError, match=r"holds no model\.embed_tokens\.weight for the new"):
        make(base, tmp_path)


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_tokens_without_rows_are_refused(tiny: Any, tmp_path: Path) -> None:
    base, _ = tiny()
    grown_adapter(tmp_path, tied=False)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["new1", "new2", "new3"])
    tokenizer.save_pretrained(tmp_path)
    make(base, tmp_path, tokenizer=str(tmp_path))
    for boundary in (-1, 1):
        with pytest.raises(
            AdapterError, match=rf"tokenizer has 67 tokens, but with boundary={boundary} "
        ):
            make(base, tmp_path, tokenizer=str(tmp_path), boundary=boundary)
