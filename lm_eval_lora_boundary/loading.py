"""Load an adapter onto a base model so that it can be cut at any boundary.

PEFT writes some adapters into the base weights while loading them: trained biases, embeddings of
a grown vocabulary, and initialisations such as PiSSA that subtract the adapter's initial product.
What it changed is recorded here, so that a dropped module is the base model's module again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora.layer import ParamWrapper
from torch import nn

from .adapted import Overwrite
from .adapter import LoraCut, rewrites_base
from .adapter_folder import AdapterFolder
from .errors import AdapterError
from .layers import DecoderStack, depths, find_decoder_stack

# path of the owner, attribute, depth, original parameter, whether the file holds the tensor
_Candidate = tuple[str, str, int, nn.Parameter, bool]


def load_adapter(model: nn.Module, adapter: AdapterFolder, *, boundary: int | None) -> LoraCut:
    """Put an adapter on a base model.

    Args:
        model: The base model, a transformers causal language model. It is changed in place.
        adapter: The adapter.
        boundary: The lowest boundary that will be asked for: above it, base weights that the
            adapter rewrites are kept to be restored. None: the full adapter only.

    Returns:
        The cut, at the full adapter.

    Raises:
        AdapterError: The adapter does not fit the model, or cannot be loaded faithfully.
    """
    check_fits(model, adapter)
    stack = find_decoder_stack(model)
    limit = stack.count - 1 if boundary is None else boundary
    candidates = list(_candidates(model, stack, adapter, limit))
    _grow_vocabulary(model, adapter)
    owners = dict(model.named_modules())  # before PEFT moves them under its own
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peft_model = PeftModel.from_pretrained(model, str(adapter.path))
    for warning in caught:
        if "missing adapter keys" in str(warning.message):
            raise AdapterError(
                f"{adapter.path}: {warning.message} The config names modules that the file holds "
                "no tensors for; write config and tensors together, as `save_pretrained` does."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    _refuse_unused(peft_model, adapter)
    peft_model.eval()
    overwrites = [
        Overwrite(f"{path}.{attribute}", depth, owner, original, getattr(owner, attribute), counts)
        for path, attribute, depth, original, counts in candidates
        for owner in [owners[path]]
    ]
    return LoraCut(peft_model, overwrites)


def check_fits(model: nn.Module, adapter: AdapterFolder) -> None:
    """Check an adapter against a base model, which may be on the meta device.

    Raises:
        AdapterError: The adapter has layers that the model does not have, tensors of other
            shapes, or modules of another architecture.
    """
    stack = find_decoder_stack(model)
    modules = dict(model.named_modules())
    names = adapter.lora_modules()
    present = [name for name in names if name in modules]
    base = f"this base model ({type(model).__name__}, {stack.count} layers)"
    for name in sorted(names):
        layer = stack.layer_of(name)
        if layer is not None and layer >= stack.count:
            raise AdapterError(
                f"{adapter.path} was made for another base: it has LoRA in layer {layer}, and "
                f"{base} ends at layer {stack.count - 1}"
            )
    if names and not present and not _fused_experts(model):
        raise AdapterError(
            f"{adapter.path} was made for another base: none of its {len(names)} modules (such as "
            f"{min(names)}) is in {base}"
        )
    for name in sorted(present):
        weight = getattr(modules[name], "weight", None)
        found = _delta_shape(adapter, name)
        # 4-bit weights are packed and say nothing; Conv1D keeps its weight transposed
        if weight is None or found is None or not torch.is_floating_point(weight):
            continue
        if weight.ndim == 2 and sorted(found) != sorted(weight.shape):
            raise AdapterError(
                f"{adapter.path} was made for another base: its LoRA for {name} is "
                f"{found[0]}×{found[1]}, and the weight in {base} is "
                f"{weight.shape[0]}×{weight.shape[1]}"
            )


def _delta_shape(adapter: AdapterFolder, name: str) -> tuple[int, int] | None:
    """Return the shape of B·A for a linear module, or None for other kinds."""
    a = adapter.shapes.get(f"{name}.lora_A.weight")
    b = adapter.shapes.get(f"{name}.lora_B.weight")
    return (b[0], a[1]) if a and b and len(a) == len(b) == 2 else None


def _fused_experts(model: nn.Module) -> bool:
    """Tell whether experts are one 3-D parameter, which adapters of older releases are not."""
    return any(parameter.ndim == 3 for parameter in model.parameters())


def _candidates(
    model: nn.Module, stack: DecoderStack, adapter: AdapterFolder, limit: int
) -> Iterator[_Candidate]:
    """Yield the base tensors that loading may change, with a copy where it will be needed."""
    saved_modules = tuple(adapter.config.modules_to_save or ())
    in_file = {
        name
        for name in adapter.whole_tensors()
        if not any(_names_module(name.rpartition(".")[0], saved) for saved in saved_modules)
    }
    rewritten = adapter.lora_modules() if rewrites_base(adapter.config) else set()
    if _rows_in_file(model, adapter):  # growing replaces both embedding tensors
        rewritten |= {name for name, m in model.named_modules() if m in _embeddings(model)}
    owners = dict(model.named_modules())
    wanted = [
        (name, owner, attribute)
        for name in sorted({name.rpartition(".")[0] for name in in_file} | rewritten)
        if (owner := owners.get(name)) is not None
        for attribute, _ in owner.named_parameters(recurse=False)
        if name in rewritten or f"{name}.{attribute}" in in_file
    ]
    # an untied copy of a tied tensor is changed with it
    shared = {id(getattr(owner, attribute)) for _, owner, attribute in wanted}
    seen = {(name, attribute) for name, _, attribute in wanted}
    wanted += [
        (name, owner, attribute)
        for name, owner in owners.items()
        for attribute, parameter in owner.named_parameters(recurse=False)
        if id(parameter) in shared and (name, attribute) not in seen
    ]
    where = depths(model, stack, {name for name, _, _ in wanted})
    for name, owner, attribute in wanted:
        parameter = getattr(owner, attribute)
        original = parameter
        if where[name] > limit:
            if parameter.is_meta:
                raise AdapterError(
                    f"{adapter.path} overwrites {name}.{attribute}, which is offloaded; load the "
                    "model without offloading to cut this adapter"
                )
            original = nn.Parameter(parameter.detach().clone(), requires_grad=False)
        yield name, attribute, where[name], original, f"{name}.{attribute}" in in_file


def _names_module(path: str, name: str) -> bool:
    """Tell whether PEFT's short name selects the module path, or one of its parents."""
    return any(
        part == name or part.endswith(f".{name}")
        for part in (path.rsplit(".", cut)[0] for cut in range(path.count(".") + 1))
    )


def _embeddings(model: Any) -> list[nn.Module]:
    return [m for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m]


def _rows_in_file(model: Any, adapter: AdapterFolder) -> int | None:
    """Return the vocabulary size that the adapter's saved embeddings have, if it is larger."""
    rows = set()
    names = {m: name for name, m in model.named_modules()}
    for module in _embeddings(model):
        shape = adapter.whole_tensors().get(f"{names[module]}.weight")
        if shape is not None:
            rows.add(shape[0])
        embedding_a = adapter.shapes.get(f"{names[module]}.lora_embedding_A")
        if embedding_a is not None:
            rows.add(embedding_a[1])
    current = model.get_input_embeddings().weight.shape[0]
    if not rows or rows == {current}:
        return None
    if len(rows) > 1 or max(rows) < current:
        raise AdapterError(
            f"{adapter.path} was made for another vocabulary: its embeddings have "
            f"{', '.join(map(str, sorted(rows)))} rows, this base model has {current}. Use the "
            "base it was trained on; the vocabulary is never shrunk to fit."
        )
    return max(rows)


def _grow_vocabulary(model: Any, adapter: AdapterFolder) -> None:
    rows = _rows_in_file(model, adapter)
    if rows is not None:
        model.resize_token_embeddings(rows, mean_resizing=False)


def _refuse_unused(model: PeftModel, adapter: AdapterFolder) -> None:
    """Refuse a file with LoRA tensors that nothing in the model uses."""
    if any(isinstance(module, ParamWrapper) for module in model.modules()):
        return  # PEFT fused the tensors of single experts; it checked them while doing so
    loaded = {
        name.removeprefix("base_model.model.")
        for name in get_peft_model_state_dict(model, save_embedding_layers=False)
        if ".lora_" in name
    }
    in_file = {name for name in adapter.shapes if ".lora_" in name}
    # names may differ where transformers has renamed modules; then the numbers agree
    if len(in_file) > len(loaded):
        unused = sorted(in_file - loaded)
        raise AdapterError(
            f"{adapter.path}: {len(unused)} of {len(in_file)} LoRA tensors match no module that "
            f"the config selects in this base model (first: {unused[0]})"
        )
