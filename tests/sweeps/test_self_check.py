"""The check before a sweep sees when sharing a pass would be wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import LAYERS

from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import find_engines

Forward = Callable[[torch.Tensor], torch.Tensor]
Tiny = Callable[..., tuple[Path, Path]]


def with_sorted_tokens(forward: Forward, shape: tuple[int, ...]) -> Forward:
    """Give a module its tokens in another order, as some routers do; the result is the same."""

    def changed(hidden: torch.Tensor) -> torch.Tensor:
        flat = hidden.flatten(0, 1)
        order = flat.sum(dim=-1).argsort()
        result = torch.empty_like(flat)
        result[order] = forward(flat[order].view(*shape, flat.shape[-1])).view(flat.shape)
        return result.view(hidden.shape)

    return changed


def with_other_rows(forward: Forward, first: int) -> Forward:
    """Treat the rows of a batch from ``first`` on unlike those before."""

    def changed(hidden: torch.Tensor) -> torch.Tensor:
        result = forward(hidden).clone()
        result[first:] += 1
        return result

    return changed


def with_forgotten_past(forward: Forward, tokens: int) -> Forward:
    """Treat passes of some number of tokens unlike others, as if the past were lost there."""

    def changed(hidden: torch.Tensor) -> torch.Tensor:
        result = forward(hidden)
        return result + 1 if hidden.shape[1] == tokens else result

    return changed


def broken(change: Callable[[Forward], Forward], base: Path, adapter: Path) -> SweepLM:
    """Load a model, and change the feed-forward of a layer."""
    lm = SweepLM(str(base), peft=str(adapter), device="cpu", dtype="float32")
    mlp = lm.cut.model.get_base_model().get_submodule(f"{lm.cut.stack.path}.{LAYERS - 2}.mlp")
    mlp.forward = change(mlp.forward)
    return lm


@pytest.mark.parametrize(
    ("architecture", "change"),
    [
        ("llama", partial(with_sorted_tokens, shape=(-1,))),
        ("mixtral", partial(with_sorted_tokens, shape=(1, -1))),
        ("llama", partial(with_other_rows, first=6)),  # more than there are texts
        ("mixtral", partial(with_other_rows, first=6)),
        ("llama", partial(with_forgotten_past, tokens=1)),
    ],
)
def test_a_model_that_shares_wrongly_is_toggled(
    architecture: str, change: Callable[[Forward], Forward], tiny: Tiny
) -> None:
    lm = broken(change, *tiny(architecture))
    engines = find_engines(lm, "auto")
    assert engines.name == "toggle"
    assert "fork does not work with this architecture: in a trial with " in engines.reason
    with pytest.raises(ModelError, match="engine=fork cannot be used: fork does not work"):
        find_engines(lm, "fork")


def test_a_model_whose_batches_are_wrong_is_refused(tiny: Tiny) -> None:
    """Then no engine is right."""
    lm = broken(partial(with_other_rows, first=1), *tiny())
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot be swept with this adapter"):
        find_engines(lm, "auto")
