"""Load an adapter onto a base model so that it can be cut at any boundary.

What PEFT writes into the base weights while loading is recorded (see :mod:`.base_tensors`), so
that a dropped module is the base model's module again.
"""

from __future__ import annotations

import re
import warnings

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from torch import nn

from ..errors import AdapterError
from .activated import refuse_never_active
from .adapter_folder import AdapterFolder
from .base_model import weightless
from .base_tensors import BaseTensors
from .cut import LoraCut
from .layers import find_decoder_stack
from .vocabulary import embeddings, grow


def load_adapter(model: nn.Module, adapter: AdapterFolder, *, boundary: int | None) -> LoraCut:
    """Put an adapter on a base model.

    Args:
        model: The base model, a transformers causal language model. It is changed in place. On the
            meta device, it shows what a cut keeps, and cannot be run or cut.
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
    before = BaseTensors(model, stack, adapter, limit)
    grow(model, adapter)
    peft_model = _load(model, adapter)
    _refuse_unused(peft_model, adapter)
    peft_model.eval()
    refuse_never_active(peft_model)
    return LoraCut(peft_model, before.overwrites(), lowest=limit)


def _load(model: nn.Module, adapter: AdapterFolder) -> PeftModel:
    """Let PEFT load the adapter; what it refuses, or warns that it misses, is the adapter's fault.

    Raises:
        AdapterError: PEFT cannot load it, or misses tensors.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            empty = weightless(model)
            peft_model = PeftModel.from_pretrained(
                model, str(adapter.path), low_cpu_mem_usage=empty
            )
            if empty:
                _give_values(peft_model, adapter)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise AdapterError(
                f"PEFT cannot load {adapter.path} onto this base model ({type(error).__name__}: "
                f"{reason[:300]}); check that config and tensors belong together and to this base"
            ) from error
    for warning in caught:
        if match := re.search(r"missing adapter keys.*?: \[(.*)\]", str(warning.message)):
            missing = match[1].split(", ")
            raise AdapterError(
                f"{adapter.path} holds no tensors for {len(missing)} of the LoRA tensors that its "
                f"config asks for (first: {missing[0]}); write config and tensors together, as "
                "save_pretrained does"
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return peft_model


def _give_values(model: PeftModel, adapter: AdapterFolder) -> None:
    """Give the LoRA tensors of a weightless model their values; PEFT leaves them where the base is.

    They tell whether the adapter has an effect.
    """
    (adapter_name,) = model.peft_config
    modules = dict(model.named_modules())
    for name, tensor in load_peft_weights(str(adapter.path), device="cpu").items():
        parameter = nn.Parameter(tensor, requires_grad=False)
        owner, _, last = name.rpartition(".")
        if last.startswith("lora_embedding_") and owner in modules:
            getattr(modules[owner], last)[adapter_name] = parameter
        elif f"{owner}.{adapter_name}" in modules:
            setattr(modules[f"{owner}.{adapter_name}"], last, parameter)


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
        if modules[name] in embeddings(model):
            continue  # its rows may be those of a grown vocabulary
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


def _refuse_unused(model: PeftModel, adapter: AdapterFolder) -> None:
    """Refuse a file with tensors that nothing in the model uses."""
    loaded = {
        name.removeprefix("base_model.model.")
        for name in get_peft_model_state_dict(model, save_embedding_layers=False)
    }
    # PEFT fuses the tensors of single experts, and checks them while doing so
    in_file, in_model = (
        {name for name in names if ".lora_" in name and ".experts." not in name}
        for names in (adapter.shapes, loaded)
    )
    unused = sorted(in_file - in_model)
    if len(in_file) > len(in_model):  # the same number: transformers has renamed modules
        raise AdapterError(
            f"{adapter.path}: {len(unused)} of {len(in_file)} LoRA tensors match no module that "
            f"the config selects in this base model (first: {unused[0]})"
        )
    if unused:
        return
    base = {
        name.replace(".token_adapter.", ".").replace(".base_layer.", ".")
        for name in model.get_base_model().state_dict()
    }
    strange = sorted(adapter.whole_tensors().keys() - base - loaded)
    if strange:
        raise AdapterError(
            f"{adapter.path}: {len(strange)} tensors match nothing in this base model (first: "
            f"{strange[0]})"
        )
