"""What a CPU can show of a GPU: wrong devices, where the host waits, and how often it copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fork_helpers import INSIDE, TOLERANCE
from peft import get_peft_model
from pretended_gpu import GPU, PretendedGpu
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.forward.fork import Fork
from lm_eval_lora_boundary.forward.requests import Generate, Score
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts
from lm_eval_lora_boundary.harness.endings import Ending

TEXTS, WIDTH = 3, 5
# transformers and PEFT themselves make tensors of lists there, which cannot be pretended
NOT_PRETENDED = {"mistral", "gemma2", "gpt2", "falcon", "mixtral"}
NAMES = ["all", "0-1", "none", "0@0.5+3"]  # in the last one, rows have strengths of their own


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    # torch has no mixed precision there, and says so if it is asked
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    with torch.no_grad():
        yield PretendedGpu()


def model_of(architecture: str = "llama", **overrides: Any) -> tuple[Any, list[Any]]:
    """Return a model with LoRA, without PEFT around it, and its layers."""
    config = lora_config(architecture, **INSIDE.get(architecture, {}))
    cut = LoraCut(randomise(get_peft_model(tiny_model(architecture, **overrides), config)).eval())
    base = cut.model.get_base_model()
    return base, list(base.get_submodule(cut.stack.path))


class Shared:
    """A model on the device, whose texts are read under all boundaries at once."""

    def __init__(self, layers: int, gpu: PretendedGpu) -> None:
        base, stack = model_of(num_hidden_layers=layers)
        gpu.move(base)
        names = [*range(-1, layers), f"0@0.5+{layers - 1}"]
        self.model = SplitModel(base)
        strengths = [as_cut(name, layers).strengths for name in names]
        self.forked = ForkedModel(stack, strengths)

    def read(self, mask: torch.Tensor) -> Texts:
        texts = Texts(self.model, self.forked, mask[:, :0], device=GPU)
        places = torch.tensor([[text, WIDTH - 1] for text in range(TEXTS)])
        assert texts.read(torch.full(mask.shape, 7), mask, places).device == GPU
        return texts


@pytest.mark.parametrize("layers", [3, 6])
def test_a_pass_copies_a_few_tensors_and_needs_no_value(layers: int, gpu: PretendedGpu) -> None:
    shared = Shared(layers, gpu)
    ones = torch.ones((TEXTS, WIDTH), dtype=torch.long)

    def counted() -> dict[str, int]:
        found = dict(gpu.counts)
        gpu.counts.clear()
        return found

    with gpu, shared.forked.forking():
        texts = shared.read(ones)
        # tokens; indices and strengths of rows; where the wanted states are
        assert counted() == {"to": 5}
        states = texts.write([4] * TEXTS)
        tokens = shared.model.greedy(states)
        assert counted() == {"to": 1}  # the tokens
        tokens.cpu()
        assert counted() == {"from": 1}
        pairs = np.arange(len(texts.rows.cuts))
        texts.go_on(texts.rows.cuts, pairs, pairs)
        texts.write([4] * len(pairs))
        # rows of all caches, and of the mask; indices and strengths; the tokens
        assert counted() == {"to": 5}


def test_padding_is_looked_for_once_in_a_prompt_and_never_while_writing(gpu: PretendedGpu) -> None:
    """transformers looks for it when it reads the first tokens, to see whether it needs a mask."""
    shared = Shared(LAYERS, gpu)
    mask = torch.ones((TEXTS, WIDTH), dtype=torch.long)
    mask[0, 0] = 0
    with gpu, shared.forked.forking():
        texts = shared.read(mask)
        assert 1 <= gpu.counts.pop("value") <= 2
        texts.write([4] * TEXTS)
        texts.read(torch.full((TEXTS, 2), 7), mask[:, :2], torch.tensor([[1, 1]]))
        assert not gpu.counts["value"]


class Host:
    """What an engine needs from its caller."""

    softmax_dtype = None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def precision(self) -> Any:
        return torch.no_grad()

    def ending(self, until: Sequence[str], limit: int) -> Ending:
        return Ending(frozenset(), (), limit, None)

    def text(self, response: list[int], until: Sequence[str]) -> str:
        return " ".join(map(str, response))


def answers(
    device: torch.device, requests: Sequence[Any], gpu: PretendedGpu, architecture: str = "llama"
) -> list[Any]:
    model, layers = model_of(architecture)
    if device == GPU:
        gpu.move(model)
    fork = Fork(Host(device), model, layers)
    return fork.prepare(requests, [as_cut(name, LAYERS) for name in NAMES])(requests)


def test_responses_on_the_device_take_one_value_for_each_token(gpu: PretendedGpu) -> None:
    prompts = [tuple(range(4, 4 + length)) for length in (9, 9, 6)]

    def requests(limit: int) -> list[Generate]:
        return [Generate((*prompt, 4), (), limit, "{}", "", "") for prompt in prompts]

    expected = answers(torch.device("cpu"), requests(12), gpu)
    found = []
    for limit in (4, 12):
        with gpu:
            written = answers(GPU, requests(limit), gpu)
        found.append(gpu.counts.copy())
        gpu.counts.clear()
    assert written == expected
    different = {answer for each in written for answer in each}
    assert len(different) > TEXTS  # cuts write different texts
    short, long = found
    assert long["from"] - short["from"] == 8
    assert not long["value"]  # transformers does not look for padding after a common beginning


def test_no_token_on_the_device_needs_a_plan_of_cudnn(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN's attention builds a plan for every shape, and each layer and token has its own."""
    real = torch.nn.functional.scaled_dot_product_attention
    seen: list[bool] = []

    def attention(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    requests = [Generate((5, 6, 7), (), 4, "{}", "", ""), Generate((5, 8), (), 4, "{}", "", "")]
    with gpu:
        answers(GPU, requests, gpu)
    assert len(seen) > 4 * LAYERS
    # the trials of a new engine are few
    assert not any(seen[-4 * LAYERS :])


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES.keys() - NOT_PRETENDED))
def test_scores_on_the_device_are_those_of_the_host(architecture: str, gpu: PretendedGpu) -> None:
    scores = [
        Score((5, 6, 7, 8), (9, 10)), Score((5, 6, 7, 8), (11, 12, 13)), Score((5, 6, 9), (7,)),
    ]  # fmt: skip
    expected = answers(torch.device("cpu"), scores, gpu, architecture)
    with gpu:
        found = answers(GPU, scores, gpu, architecture)
    for ours, theirs in zip(found, expected, strict=True):
        for (score, greedy), (reference, same) in zip(ours, theirs, strict=True):
            assert score == pytest.approx(reference, rel=TOLERANCE)
            assert greedy == same
    # contexts, then continuations: log-probabilities, and which are the greedy ones
    assert gpu.counts["from"] == 4


def test_the_pretended_device_refuses_tensors_of_the_host(gpu: PretendedGpu) -> None:
    """Otherwise the tests above would show nothing."""
    shared = Shared(LAYERS, gpu)
    tokens = torch.tensor([[1, 2]])
    with gpu, pytest.raises(RuntimeError, match="tensors on cpu and lazy"):
        shared.model.hidden(tokens, torch.ones_like(tokens))
