"""Load an adapter onto a base model so that it can be cut at any boundary.

What PEFT writes into the base weights is recorded (see :mod:`.base_tensors`), so that dropping a
module really restores the base model's module.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
from torch import nn

from ..errors import AdapterError
from .activated import refuse_never_active
from .adapter_folder import PREFIX, AdapterFolder, base_name, shared
from .base_model import weightless
from .base_tensors import BaseTensors
from .cut import LoraCut
from .kinds import tensor_prefix
from .layers import find_decoder_stack
from .patterns import check_matching
from .ranks import check_ranks
from .vocabulary import embeddings, grow

# Variants of LoRA whose A and B are smaller than the sides of the weight.
_OTHER_SHAPES = ("use_bdlora", "use_qalora")
LOADING_SEED = 0


def load_adapter(
    model: nn.Module, adapter: AdapterFolder, *, lowest_dropped: int | None
) -> LoraCut:
    """Put an adapter on a base model.

    Args:
        model: The base model, a transformers causal language model. It is changed in place. On
            the meta device, the cut shows what is kept, but can be neither run nor moved.
        adapter: The adapter.
        lowest_dropped: The lowest layer that any cut will drop. From there on, base weights that
            the adapter rewrites are kept, to be restored. None: the whole adapter only.

    Returns:
        The cut, at the whole adapter.

    Raises:
        AdapterError: The adapter does not fit the model, or cannot be loaded exactly.
    """
    check_fits(model, adapter)
    stack = find_decoder_stack(model)
    lowest = (stack.count if lowest_dropped is None else lowest_dropped) - 1
    before = BaseTensors(model, stack, adapter, lowest)
    grow(model, adapter)
    peft_model = _load(model, adapter)
    _refuse_unused(peft_model, adapter)
    peft_model.eval()
    refuse_never_active(peft_model)
    return LoraCut(peft_model, before.overwrites(), lowest=lowest)


def _load(model: nn.Module, adapter: AdapterFolder) -> PeftModel:
    """Load the adapter with PEFT, and refuse what PEFT refuses or only warns about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            empty = weightless(model)
            with _same_random_numbers():
                peft_model = PeftModel.from_pretrained(
                    model, str(adapter.path), low_cpu_mem_usage=empty
                )
            if empty:
                _give_values(peft_model, adapter)
            else:
                _refuse_lost(peft_model, adapter)
        except AdapterError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            if other := other_shapes(error):
                raise AdapterError(
                    f"{adapter.path} does not fit: {other}; check that config and tensors belong "
                    "together, and give the base model that the adapter was trained on"
                ) from error
            reason = " ".join(str(error).split())
            raise AdapterError(
                f"PEFT cannot load {adapter.path} onto this base model ({type(error).__name__}: "
                f"{reason[:300]}); check that the config and the tensors belong together and were "
                "made for this base model"
            ) from error
    for warning in caught:
        if match := re.search(r"missing adapter keys.*?: \[(.*)\]", str(warning.message)):
            missing = match[1].split(", ")
            raise AdapterError(
                f"{adapter.path} lacks {len(missing)} of the {adapter.kind.name} tensors that its "
                f"config asks for (first: {missing[0]}); write config and tensors together, as "
                "save_pretrained does"
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return peft_model


def other_shapes(error: Exception) -> str:
    """Return in one line which tensors torch could not load because of their shapes, or ""."""
    found = re.findall(
        r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)",
        str(error),
        re.DOTALL,
    )
    if not found:
        return ""
    name, given, expected = found[0]
    given, expected = ("×".join(each.split(", ")) or "a number" for each in (given, expected))
    more = f" (and {len(found) - 1} more tensors)" if len(found) > 1 else ""
    name = name.removeprefix(PREFIX).replace(".default", "")  # PEFT's name for a lone adapter
    return f"{name} is {given}, and {expected} was expected{more}"


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Load an adapter in the same way every time, and leave the caller's random numbers alone.

    ``pissa_niter_…`` computes base weights with random vectors whenever PEFT loads the adapter.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(LOADING_SEED)
        yield


def _refuse_lost(model: PeftModel, adapter: AdapterFolder) -> None:
    """Refuse an adapter for offloaded modules if PEFT has loaded it into nothing.

    PEFT lifts the offloading of a model with a device map while it loads, and no other.
    """
    if {"cpu", "disk"} & set(getattr(model, "hf_device_map", {}).values()):
        return
    own = f".{tensor_prefix(adapter.config)}"
    parts = (own, ".modules_to_save.", ".trainable_tokens_")
    for name, parameter in model.named_parameters():
        if parameter.is_meta and any(part in name for part in parts):
            raise AdapterError(
                f"{adapter.path} holds {name.removeprefix(PREFIX)}, and its module is offloaded in "
                "a way that PEFT does not know, so the values would be lost; load the base model "
                "without offloading, or with device_map="
            )


def _give_values(model: PeftModel, adapter: AdapterFolder) -> None:
    """Load the LoRA values into a model without weights, where PEFT leaves them empty.

    They show whether the adapter has an effect.
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
    """Refuse an adapter that was made for another base model (which may be on the meta device).

    Raises:
        AdapterError: The adapter has layers that the model does not have, tensors of other
            shapes, or modules of another architecture.
    """
    stack = find_decoder_stack(model)
    modules = dict(model.named_modules())
    names = adapter.lora_modules()
    present = sorted(names & modules.keys())
    base = f"this base model ({type(model).__name__}, {stack.count} layers)"
    other = f"{adapter.path} was made for another base"
    for name in sorted(names):
        layer = stack.layer_of(name)
        if layer is not None and layer >= stack.count:
            raise AdapterError(
                f"{other}: it has {adapter.kind.name} in layer {layer}, and {base} ends at "
                f"layer {stack.count - 1}"
            )
    lora = sorted(name for name in adapter.shapes if ".lora_" in name)
    if lora and not names and tensor_prefix(adapter.config) != "lora_":
        raise AdapterError(
            f"{adapter.path} holds tensors of LoRA (such as {lora[0]}), and its config says "
            f"{adapter.kind.name}; write config and tensors together, as save_pretrained does"
        )
    # experts fused into 3-D parameters have other names in older adapters
    fused = any(parameter.ndim == 3 for parameter in model.parameters())
    if names and not present and not fused:
        if prefix := _foreign_prefix(names, modules.keys()):
            raise AdapterError(
                f"the tensors of {adapter.path} have names that begin with {PREFIX}{prefix}, and "
                f"{base} has the same modules without {prefix}; a wrapper of the model left that "
                "there: save the adapter of the unwrapped model, or take it out of the names"
            )
        raise AdapterError(
            f"{other}: none of its {len(names)} modules (such as {min(names)}) is in {base}"
        )
    for name in present:
        weight = getattr(modules[name], "weight", None)
        shape = _delta_shape(adapter, name)
        if modules[name] in embeddings(model):
            continue  # its rows may be those of a grown vocabulary
        # 4-bit weights are packed, so their shape says nothing
        if weight is None or shape is None or not torch.is_floating_point(weight):
            continue
        # sorted, since Conv1D stores its weight transposed
        if weight.ndim == 2 and sorted(shape) != sorted(weight.shape):
            raise AdapterError(
                f"{other}: its LoRA for {name} is {shape[0]}×{shape[1]}, and the weight in {base} "
                f"is {weight.shape[0]}×{weight.shape[1]}"
            )
    check_matching(adapter.config, modules, adapter.path)
    check_ranks(model, adapter)


def _foreign_prefix(names: Collection[str], known: Collection[str]) -> str:
    """Return what all names begin with that are otherwise those of modules; empty if nothing."""
    parts = min(names).split(".")
    for number in range(1, len(parts)):
        prefix = ".".join(parts[:number]) + "."
        if all(name.startswith(prefix) and name[len(prefix) :] in known for name in names):
            return prefix
    return ""


def _delta_shape(adapter: AdapterFolder, name: str) -> tuple[int, int] | None:
    """Return the shape of B·A for a linear module, or None for other kinds."""
    if any(getattr(adapter.config, variant, None) for variant in _OTHER_SHAPES):
        return None
    a = adapter.shapes.get(f"{name}.lora_A.weight")
    b = adapter.shapes.get(f"{name}.lora_B.weight")
    return (b[0], a[1]) if a and b and len(a) == len(b) == 2 else None


def _refuse_unused(model: PeftModel, adapter: AdapterFolder) -> None:
    """Refuse a file with tensors that the model does not use."""
    loaded = {
        name.removeprefix(PREFIX)
        for name in get_peft_model_state_dict(model, save_embedding_layers=False)
    }
    # PEFT fuses the tensors of single experts, and checks them itself
    part = f".{tensor_prefix(adapter.config)}"
    in_file, in_model = (
        {name for name in names if part in name and ".experts." not in name and not shared(name)}
        for names in (adapter.shapes, loaded)
    )
    unused = sorted(in_file - in_model)
    if len(in_file) > len(in_model):  # with equal numbers, transformers has renamed modules
        raise AdapterError(
            f"{adapter.path}: {len(unused)} of {len(in_file)} {adapter.kind.name} tensors match no "
            f"module that the config selects in this base model (first: {unused[0]}); check that "
            "the config and the tensors belong together"
        )
    if unused:
        return
    base = {base_name(name) for name in model.get_base_model().state_dict()}
    strange = sorted(adapter.whole_tensors().keys() - base - loaded)
    if strange:
        raise AdapterError(
            f"{adapter.path}: {len(strange)} tensors match nothing in this base model (first: "
            f"{strange[0]}); give the base model that the adapter was trained on"
        )
