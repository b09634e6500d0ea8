"""How many rows fit into the memory of a GPU, and that the cache takes no more than they need."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from lm_eval_lora_boundary.forward.kv_cache import growing_cache, rearrange
from lm_eval_lora_boundary.forward.memory import row_bytes, rows_that_fit
from lm_eval_lora_boundary.forward.rows import Moves

GPU = torch.device("cuda:0")
GB = 1 << 30


def test_memory_that_torch_keeps_for_itself_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tasks, torch holds what the last batch has freed, and no other program could."""
    config = SimpleNamespace(num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8)
    config.head_dim, config.get_text_config = 128, lambda **_: config
    row = row_bytes(config, torch.bfloat16, 1024)
    assert row == 128 << 20
    for free, reserved, allocated in ((40, 16, 16), (10, 46, 16), (0, 56, 16)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, f=free: (f * GB, 80 * GB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _, r=reserved: r * GB)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _, a=allocated: a * GB)
        # half of 40 GB
        assert rows_that_fit(config, torch.bfloat16, 1024, GPU) == 160


@pytest.mark.parametrize("most", [7, 8, 100])
def test_a_cache_grows_ahead_but_never_beyond_the_rows_it_can_have(most: int) -> None:
    cache = growing_cache(tiny_model().config)
    for layer in cache.layers:
        layer.update(torch.randn(6, 2, 5, 8), torch.randn(6, 2, 5, 8))
    before = cache.layers[0].keys.clone()
    source = np.array([0, 1, 2, 3, 4, 5, 3])
    rearrange(cache, [Moves(source)] * len(cache.layers), most)
    for layer in cache.layers:
        room = layer.keys.untyped_storage().nbytes() // layer.keys[0].nbytes
        assert len(layer.keys) == 7
        # three halves of the rows before, and room for more tokens
        assert room <= min(most, 9) * layer.keys.stride(0) // (2 * 5 * 8)
    assert torch.equal(cache.layers[0].keys, before[torch.from_numpy(source)])
