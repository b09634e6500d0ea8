"""Where the decoder layers of a model are, and how deep every module is.

No architecture is known by name. The decoder layers are the one list of modules in the text
decoder that has the length in the config. For a module outside this list, running one token
through the model shows whether it comes before or after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ModelError
from .base_model import weightless

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class DecoderStack:
    """The list of decoder layers.

    Attributes:
        path: Module path of the list, such as ``model.layers``.
        count: Number of layers, N.
    """

    path: str
    count: int

    def layer_of(self, name: str) -> int | None:
        """Return the layer of the module or tensor ``name``, or None if it is in none.

        The layer is the first index in the decoder: 3 in ``layers.3.mlp.experts.5.w1``.
        """
        head, _, rest = name.partition(f"{self.path}.")
        if head or not rest:
            return None
        index = rest.partition(".")[0]
        return int(index) if index.isdigit() else None


def number_of_layers(config: PretrainedConfig) -> int:
    """Return the number of decoder layers in a model config.

    Raises:
        ModelError: The model is an encoder-decoder, or the config has no number of layers.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model_type} is an encoder-decoder model; boundaries are defined for "
            "decoder-only models. Use --model hf."
        )
    count = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    if not isinstance(count, int):
        raise ModelError(
            f"the config of {config.model_type} has no num_hidden_layers; expected a decoder-only "
            "language model"
        )
    return count


def find_decoder_stack(model: nn.Module) -> DecoderStack:
    """Find the list of decoder layers of a causal language model.

    Args:
        model: A transformers model, not wrapped in PEFT (its layers may be adapted).

    Raises:
        ModelError: There is not exactly one such list.
    """
    config: Any = model.config
    count = number_of_layers(config)
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None  # type: ignore[operator]
    prefix = next((f"{n}." for n, module in model.named_modules() if n and module is decoder), "")
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and not any(part.isdigit() for part in name.split("."))
    ]
    # other modalities may have a list of the same length
    found = [name for name in lists if name.startswith(prefix)] or lists
    shortest = min((name.count(".") for name in found), default=0)
    found = [name for name in found if name.count(".") == shortest]
    if len(found) != 1:
        raise ModelError(
            f"expected one list of {count} decoder layers in {type(model).__name__}, found "
            f"{', '.join(found) or 'none'}"
        )
    return DecoderStack(found[0], count)


def depths(model: nn.Module, stack: DecoderStack, names: Iterable[str]) -> dict[str, int]:
    """Return the depth of modules.

    Outside the decoder layers, a module counts as layer 0 if it runs before the last layer has
    finished (embeddings, projections into the decoder, encoders of other modalities), and as layer
    N-1 if it runs after it (final norm, output projections, head). For modules other than
    embeddings and head, one token is run through the model to find out.

    Raises:
        ModelError: The model would have to run, and has no weights.
    """
    layers = {name: stack.layer_of(name) for name in names}
    late = _run_after_decoder(model, stack, {name for name in layers if layers[name] is None})
    outer = {name: stack.count - 1 if name in late else 0 for name in layers}
    return {name: outer[name] if layer is None else layer for name, layer in layers.items()}


def _run_after_decoder(model: nn.Module, stack: DecoderStack, names: set[str]) -> set[str]:
    """Return the modules among ``names`` that run after the last decoder layer."""
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    late = {name for name in names if modules[name] is head}
    after, _ = _watch(model, stack, names - late - _embeddings(model, names))
    return late | after


def idle(model: nn.Module, stack: DecoderStack, names: Iterable[str]) -> set[str]:
    """Return the modules that do not run when the model reads text, such as a vision tower's.

    Raises:
        ModelError: The model would have to run, and has no weights.
    """
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    modules = dict(model.named_modules())
    outside = {name for name in names if stack.layer_of(name) is None}
    outside -= _embeddings(model, outside) | {name for name in outside if modules[name] is head}
    _, ran = _watch(model, stack, outside)
    return outside - ran


def bypassed(model: nn.Module, stack: DecoderStack, names: Iterable[str]) -> list[str]:
    """Return the modules that do not run, although the module around them does.

    Such a model reads the weight of the module by itself. PEFT then adds nothing, until the
    adapter is merged into the weight.

    Raises:
        ModelError: The model would have to run, and has no weights.
    """
    around = {name: name.rpartition(".")[0] for name in names}
    _, ran = _watch(model, stack, {*around, *around.values()} - {""})
    return [name for name, outer in around.items() if outer in ran and name not in ran]


def _embeddings(model: nn.Module, names: Iterable[str]) -> set[str]:
    embedding: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    modules = dict(model.named_modules())
    return {name for name in names if modules[name] is embedding}


def _watch(model: nn.Module, stack: DecoderStack, observed: set[str]) -> tuple[set[str], set[str]]:
    """Run one token; return which modules run after the last layer, and which run at all."""
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    late: set[str] = set()
    ran: set[str] = set()
    if not observed:
        return late, ran
    if weightless(model):
        raise ModelError(
            f"{min(observed)} is outside the decoder layers, and only running the model shows on "
            "which side, but its weights are not loaded; evaluate this adapter in transformers "
            "(--model lora_boundary, or --engine auto)"
        )
    finished: list[bool] = []

    def note(name: str, *_: Any) -> None:
        ran.add(name)
        if finished:
            late.add(name)

    training = model.training
    try:
        model.eval()
        with ExitStack() as hooks, torch.no_grad():
            last = modules[f"{stack.path}.{stack.count - 1}"]
            hooks.enter_context(last.register_forward_hook(lambda *_: finished.append(True)))
            for name in observed:
                hooks.enter_context(modules[name].register_forward_pre_hook(partial(note, name)))
            tokens = torch.zeros((1, 1), dtype=torch.long, device=input_device(model))
            model(input_ids=tokens, use_cache=False)
    finally:
        model.train(training)
    return late, ran


def input_device(model: Any) -> torch.device:
    """Return the device that a model takes its token ids on."""
    embedding = model.get_input_embeddings()
    # an offloaded embedding has no device of its own between calls
    hook = getattr(embedding, "_hf_hook", None)
    device: torch.device = next(embedding.parameters()).device
    return getattr(hook, "execution_device", None) or device
