"""Where the decoder layers of a model are, and how deep every module sits.

Nothing here knows an architecture by name. The decoder layers are the one list of modules under
the text decoder that is as long as the config says; the side of a module outside of it is
observed by running one token through the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ModelError

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
        """Return the layer that the module or tensor ``name`` belongs to, or None outside.

        The layer is the first index under the decoder: in ``layers.3.mlp.experts.5.w1`` it is 3.
        """
        head, _, rest = name.partition(f"{self.path}.")
        if head or not rest:
            return None
        index = rest.partition(".")[0]
        return int(index) if index.isdigit() else None


def number_of_layers(config: PretrainedConfig) -> int:
    """Return the number of decoder layers that a model config states.

    Raises:
        ModelError: The model is an encoder-decoder, or its config states no number of layers.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model_type} is an encoder-decoder model; boundaries are defined for "
            "decoder-only models. Use --model hf for it."
        )
    count = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    if not isinstance(count, int):
        raise ModelError(f"the config of {config.model_type} states no num_hidden_layers")
    return count


def find_decoder_stack(model: nn.Module) -> DecoderStack:
    """Find the list of decoder layers of a causal language model.

    Args:
        model: A transformers model, without PEFT around it (adapted layers inside are fine).

    Raises:
        ModelError: There is no such list, or more than one.
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
    """Return the depth of modules: their layer, or the side of the decoder they are on.

    A module outside the decoder layers counts as layer 0 if it works before the last layer has
    finished (embeddings, projections into the decoder, encoders of other modalities) and as layer
    N-1 if it works after it (final norm, output projections, head). A model names its embeddings
    and its head; of anything else, which one it is, is observed by running one token through the
    model, and only if such a module is asked for.

    Args:
        model: The model that the names belong to.
        stack: Its decoder layers.
        names: Module paths in ``model``.

    Raises:
        ModelError: A module would have to be observed, and the model has no weights.
    """
    result: dict[str, int | None] = {name: stack.layer_of(name) for name in names}
    outside = {name for name, depth in result.items() if depth is None}
    if outside:
        late = _run_after_decoder(model, stack, outside)
        result |= {name: stack.count - 1 if name in late else 0 for name in outside}
    return {name: depth for name, depth in result.items() if depth is not None}


def _run_after_decoder(model: nn.Module, stack: DecoderStack, names: set[str]) -> set[str]:
    """Return those of the modules ``names`` that run after the last decoder layer."""
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    embedding: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[operator]
    late = {name for name in names if modules[name] is head}
    observed = {name for name in names - late if modules[name] is not embedding}
    if not observed:
        return late
    if next(model.parameters()).is_meta:
        raise ModelError(
            f"{min(observed)} is outside of the decoder layers, and on which side of them cannot "
            "be told without running the model; vLLM cannot be used with this adapter"
        )
    finished = False

    def finish(*_: Any) -> None:
        nonlocal finished
        finished = True

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            if finished:
                late.add(name)

        return hook

    last = modules[f"{stack.path}.{stack.count - 1}"]
    hooks = [last.register_forward_hook(finish)]
    hooks += [modules[name].register_forward_pre_hook(note(name)) for name in observed]
    training = model.training
    try:
        model.eval()
        # an offloaded embedding has no device of its own while it rests
        hook = getattr(embedding, "_hf_hook", None)
        device = getattr(hook, "execution_device", None) or next(embedding.parameters()).device
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return late
