"""Tiny models with LoRA, and texts that are read and written under several cuts at once."""

from __future__ import annotations

from collections.abc import Sequence

import peft
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, OTHERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.forward.generate import write_responses
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts
from lm_eval_lora_boundary.forward.trials import goes_on, items_per_text, skips_padding
from lm_eval_lora_boundary.harness.endings import Ending

DOCUMENTS = 3
# Batches of other sizes round fp32 sums differently.
TOLERANCE = 2e-5
FAMILIES = [*ARCHITECTURES, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
BOUNDARIES = list(range(-1, LAYERS))
ANY = [*BOUNDARIES, "1-3", "2", "0+3", "1-2@0.5+3", "all@0.7", "0@-1+2", "0-1@0.3+2-3@0.9"]
# LoRA on its projections lies outside the decoder layers; its feed-forward flattens the rows
INSIDE = {"opt": {"target_modules": ["q_proj", "v_proj", "fc1", "fc2"]}}


def cut_model(architecture: str) -> LoraCut:
    config = lora_config(architecture, **INSIDE.get(architecture, {}))
    model = peft.get_peft_model(tiny_model(architecture), config)
    return LoraCut(randomise(model).eval())


class Forked(ForkedModel):
    """Layers whose passes can answer under many cuts, and whether texts can be read in pieces."""

    piecewise: bool


def forked_model(cut: LoraCut, cuts: Sequence[int | str]) -> Forked:
    base = cut.model.get_base_model()
    layers = list(base.get_submodule(cut.stack.path))
    model, cpu = SplitModel(base), torch.device("cpu")
    per_text = items_per_text(model, layers[0], cpu)
    forked = Forked(layers, [as_cut(each, LAYERS).strengths for each in cuts], per_text)
    forked.piecewise = skips_padding(model, cpu) and goes_on(model, cpu)
    return forked


def prompts(shared: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return left-padded prompts of mixed lengths and their mask, both of shape (batch, seq).

    All begin with the same ``shared`` tokens.
    """
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(4, 60, (DOCUMENTS, 9), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    mask[2, :6] = 0
    for padding, row in zip((3, 6), tokens[1:], strict=True):
        row[padding : padding + shared] = tokens[0, :shared]
    return tokens * mask, mask


def start(cut: LoraCut, forked: Forked, documents: int) -> Texts:
    model = SplitModel(cut.model.get_base_model())
    nothing = torch.zeros((documents, 0), dtype=torch.long)
    return Texts(model, forked, nothing, piecewise=forked.piecewise)


@torch.no_grad()
def generate(
    cut: LoraCut, cuts: Sequence[int | str], ending: Ending, *, shared: int = 0
) -> dict[int | str, list[list[int]]]:
    tokens, mask = prompts(shared)
    forked = forked_model(cut, cuts)
    rows = [row[real.bool()].tolist() for row, real in zip(tokens, mask, strict=True)]
    requests = [Generate(tuple(row), (), ending.limit, "{}", "", "") for row in rows]
    model = SplitModel(cut.model.get_base_model())
    shared *= forked.piecewise
    with forked.forking():
        beginning = start(cut, forked, 1)
        if shared:
            ones = torch.ones((1, shared), dtype=torch.long)
            nowhere = torch.empty((0, 2), dtype=torch.long)
            beginning.read(torch.tensor([rows[0][:shared]]), ones, nowhere)
        written = write_responses(model, beginning, shared, requests, ending)
    return dict(zip(cuts, written, strict=True))
