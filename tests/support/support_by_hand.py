"""What transformers and PEFT give without this package, which the cells of the matrix must equal.

Nothing here uses the package: depths are read from names, dropped parts are taken from a second
base model, and layers are read out by taking away those above them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from tiny_models import LAYERS

TOKENS = torch.arange(4, 20).reshape(2, 8)
CONTEXT = [5, 6, 7, 8, 9, 10]
SEED = 0  # that of load_adapter: with pissa_niter, PEFT draws random numbers while it loads
FIRST_SIDE = ("embed", "wte", "wpe", "project_in")
# what transformers and PEFT raise where they cannot do something
UNABLE = (
    *(ImportError, NotImplementedError, RuntimeError, ValueError, TypeError),
    *(AttributeError, KeyError, IndexError),
)


@dataclass(frozen=True)
class Trained:
    """A base model and a trained adapter on disk.

    Attributes:
        base: Folder of the base model.
        adapter: Folder of the adapter.
        dtype: Precision of the base model.
        prepare: Changes a base model before PEFT loads the adapter, as its model card would say.
    """

    base: Path
    adapter: Path
    dtype: torch.dtype = torch.float32
    prepare: Callable[[Any], object] | None = None

    def base_model(self) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(self.base, dtype=self.dtype)
        # as PEFT does; torch rounds some products differently if a factor can be trained
        return model.requires_grad_(False).eval()

    def whole(self) -> Any:
        model = self.base_model()
        if self.prepare is not None:
            self.prepare(model)
        torch.manual_seed(SEED)
        return peft.PeftModel.from_pretrained(model, self.adapter).eval()

    def cut(self, boundary: int) -> Any:
        """Return PEFT's model with everything above the boundary taken from a base model."""
        model, fresh = self.whole(), self.base_model()
        inside = model.get_base_model()
        for name in adapted(inside):
            if depth(name) > boundary:
                put(inside, name, fresh.get_submodule(name))
        for name, parameter in fresh.named_parameters(remove_duplicate=False):
            # trained biases, grown vocabularies and residuals such as PiSSA's
            if depth(name) > boundary and parameter is not value(inside, name):
                put(inside, name, parameter)
        return model

    def merged(self, boundary: int) -> Any:
        """Return the base model with what a cut keeps merged into it by PEFT."""
        model = self.cut(boundary)
        untie(model.get_base_model())
        return model.merge_and_unload(safe_merge=True).eval()


def adapted(model: Any) -> list[str]:
    """Return the paths of the modules that PEFT has wrapped, without those inside of others."""
    names: list[str] = []
    for name, module in model.named_modules():
        wrapped = isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))
        if wrapped and not any(name.startswith(f"{outer}.") for outer in names):
            names.append(name)
    return names


def depth(name: str) -> int:
    """Return the first number in a name; without one, the side of the model."""
    number = next((int(part) for part in name.split(".") if part.isdigit()), None)
    if number is not None:
        return number
    return 0 if any(word in name for word in FIRST_SIDE) else LAYERS - 1


def put(model: Any, name: str, new: Any) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)


def value(model: Any, name: str) -> Any:
    parent, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(parent), attribute)


def untie(model: Any) -> None:
    """Give a tied embedding and head a weight each; else merging one changes the other too."""
    pair = [model.get_input_embeddings(), model.get_output_embeddings()]
    inside = [_without_adapter(module) for module in pair]
    if inside[0].weight is inside[1].weight and inside != pair:
        for module in inside:
            own = module.weight.detach().clone()
            module.weight = torch.nn.Parameter(own, requires_grad=False)
        model.config.tie_word_embeddings = False


def _without_adapter(module: Any) -> Any:
    if isinstance(module, BaseTunerLayer):
        return module.get_base_layer()
    return getattr(module, "original_module", module)


@torch.no_grad()
def logits(model: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    return model(tokens).logits


def log_probabilities(
    model: Any, context: Sequence[int], answer: Sequence[int], dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return the log-probabilities of the tokens of an answer, shape (tokens,)."""
    tokens = torch.tensor([[*context, *answer][:-1]])
    rows = logits(model, tokens)[0, -len(answer) :].log_softmax(dim=-1, dtype=dtype)
    return rows.gather(1, torch.tensor(answer).unsqueeze(1))[:, 0]


def read_out(
    model: Any, path: str, layer: int, context: Sequence[int], answer: Sequence[int]
) -> torch.Tensor:
    """Return the same, of a model whose decoder layers above one are taken away.

    Args:
        model: PEFT's model.
        path: Path of the list of decoder layers in the base model.
        layer: The highest layer that stays.
        context: Token ids.
        answer: Token ids.
    """
    inside = model.get_base_model()
    layers = value(inside, path)
    put(inside, path, layers[: layer + 1])
    try:
        return log_probabilities(model, context, answer, torch.float32).double()
    finally:
        put(inside, path, layers)
