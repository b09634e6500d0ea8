"""The large model with an adapter, its texts, and what a shared forward computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import torch
from lm_eval.models.huggingface import HFLM

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.attention import attention_kernels
from lm_eval_lora_boundary.forward.kv_cache import growing_cache, reserve
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM

from .models import Shape, large, random_adapter, random_model, word_tokenizer
from .setting import Setting

APART, ALIKE = 0.05, 1e-6  # strengths of adapters whose cuts write different texts, and the same


@dataclass(frozen=True)
class Large:
    """The large model with an adapter, for every way to evaluate it.

    Attributes:
        setting: Where it is.
        shape: Its sizes.
        strength: Strength of the adapter.
    """

    setting: Setting
    shape: Shape
    strength: float

    @staticmethod
    def of(setting: Setting, strength: float = APART) -> Large:
        """Return the large model of a setting."""
        return Large(setting, large(setting), strength)

    @property
    def peft(self) -> str:
        """Folder of the adapter, which is written at the first time."""
        folder = self.setting.folder / f"large-{self.strength}"
        if not folder.exists():
            random_adapter(self.shape, folder, strength=self.strength)
        return str(folder)

    @property
    def _base(self) -> Any:
        return random_model(self.shape, self.setting, torch.bfloat16)

    @property
    def _tokenizer(self) -> Any:
        return word_tokenizer(self.shape.vocabulary)

    def hf(self, batch_size: int) -> Any:
        """Return lm-eval's ``hf`` with the whole adapter, as ``peft=`` loads it."""
        model = peft.PeftModel.from_pretrained(self._base, self.peft).eval()
        return HFLM(model, tokenizer=self._tokenizer, batch_size=batch_size)

    def at(self, boundary: int, batch_size: int) -> Any:
        """Return ``lora_boundary`` at a boundary."""
        more = {"boundary": boundary, "batch_size": batch_size}
        return LoraBoundaryLM(self._base, tokenizer=self._tokenizer, peft=self.peft, **more)

    def sweep(self) -> SweepLM:
        """Return the model of a sweep."""
        return SweepLM(self._base, tokenizer=self._tokenizer, peft=self.peft)


class Shared:
    """Texts of random tokens that are read and written under some cuts at once."""

    def __init__(self, lm: SweepLM, cuts: Sequence[Cut], setting: Setting) -> None:
        """Prepare, and change nothing."""
        self._setting = setting
        self.model = SplitModel(lm.cut.model.get_base_model())
        self.layers = list(lm.decoder_layers)
        self.forked = ForkedModel(self.layers, [cut.strengths for cut in cuts])
        self.cuts = len(cuts)

    @property
    def passes(self) -> int:
        """Distinct layer passes of a token."""
        return self.forked.beginnings.passes

    @torch.no_grad()
    def read(self, tokens: torch.Tensor) -> Texts:
        """Read texts, token ids of shape (texts, seq) on the host, from the beginning."""
        ones = torch.ones_like(tokens)
        texts = Texts(self.model, self.forked, ones[:, :0], device=self._setting.device)
        count, width = tokens.shape
        places = torch.tensor([[i, width - 1] for i in range(count)])
        with attention_kernels(self._setting.device), self.forked.forking():
            texts.read(tokens, ones, places)
        return texts

    @torch.no_grad()
    def write(self, texts: Texts, steps: int = 1) -> None:
        """Write tokens under all cuts, choosing each as a sweep does."""
        with attention_kernels(self._setting.device), self.forked.forking():
            for _ in range(steps):
                self.model.greedy(texts.write([4] * len(texts.mask)))

    def part(self, texts: Texts) -> None:
        """Let every cut go on with a text of its own."""
        pairs = np.arange(len(texts.rows.cuts))
        texts.go_on(texts.rows.cuts, pairs, pairs)


def random_tokens(shape: Shape, count: int, width: int) -> torch.Tensor:
    """Return token ids on the host, shape (count, width)."""
    generator = torch.Generator().manual_seed(11)
    return torch.randint(4, shape.vocabulary, (count, width), generator=generator)


class Alone:
    """The base model without an adapter, which does as many computations by itself.

    It uses the same attention kernels as a shared forward.
    """

    def __init__(self, large: Large) -> None:
        """Build it."""
        self._setting, self._shape = large.setting, large.shape
        self._model = random_model(large.shape, large.setting, torch.bfloat16)
        self._split = SplitModel(self._model)

    @torch.no_grad()
    def read(self, tokens: torch.Tensor) -> Any:
        """Read texts, token ids of shape (texts, seq) on the device; return the cache."""
        cache = growing_cache(self._model.config)
        reserve(cache, tokens.shape[1] + 64)
        with attention_kernels(self._setting.device):
            self._split.hidden(tokens, torch.ones_like(tokens), cache, padded=False)
        return cache

    def seconds_to_read(self, count: int, width: int) -> float:
        """Return the seconds of one token in one layer."""
        tokens = random_tokens(self._shape, count, width).to(self._setting.device)
        return self._setting.seconds(lambda: self.read(tokens), 3) / (
            tokens.numel() * self._shape.layers
        )

    @torch.no_grad()
    def seconds_to_write(self, rows: int, past: int) -> float:
        """Return the seconds of one step of some rows after a number of tokens."""
        setting, shape = self._setting, self._shape
        cache = growing_cache(self._model.config)
        reserve(cache, past + 16)
        size = (rows, shape.kv_heads, past, shape.head_size)
        for layer in cache.layers:
            some = torch.zeros(size, dtype=torch.bfloat16, device=setting.device)
            layer.update(some, some)
        mask = torch.ones(rows, past + 16, dtype=torch.long, device=setting.device)
        ids = torch.full((rows, 1), 4, device=setting.device)

        def step() -> None:
            seen = cache.get_seq_length() + 1
            states = self._split.hidden(ids, mask[:, :seen], cache, padded=False)
            self._split.greedy(states[:, -1])

        with attention_kernels(setting.device):
            return setting.seconds(step, 5)


@dataclass
class Pass:
    """A pass of a shared forward.

    Attributes:
        tokens: Tokens of each row.
        rows: Rows of all layers together.
    """

    tokens: int
    rows: int = 0


@contextmanager
def counted(layers: Sequence[torch.nn.Module]) -> Iterator[list[Pass]]:
    """Count the rows of all passes within the block."""
    passes: list[Pass] = []

    def note(number: int, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if number == 0:
            passes.append(Pass(states.shape[1]))
        passes[-1].rows += states.shape[0]

    hooks = [
        layer.register_forward_hook(lambda _, __, output, number=number: note(number, output))
        for number, layer in enumerate(layers)
    ]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()
