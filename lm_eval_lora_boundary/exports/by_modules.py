"""Verify a written LoRA adapter module by module, without the weights of the base model.

PEFT itself loads the folder, onto a model of the base model's structure whose weights take no
memory. Plain LoRA in the decoder layers adds B·A·x to what a module's base layer returns, whatever
its weights are. So if the right modules are adapted, each adds what the cut adds, and everything
else is as it was, then the model computes the cut with the base model's weights, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from torch import nn

from ..cuts.adapter_folder import default_value
from ..cuts.cut import LoraCut
from ..cuts.keep import Cut
from ..cuts.kinds import KEEPS_BASE
from ..cuts.modules import adapted_modules
from ..errors import OutputError
from ..upstream.peft import LoraLayer, ParamWrapper

_ROWS = 3
# Settings of PEFT's LoRA with which a module adds its scaling times B·A·x and nothing else.
# Any other one must be left at its default: also those that a later PEFT adds.
_PLAIN = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha"),
    *("lora_dropout", "fan_in_fan_out", "use_rslora", "layers_to_transform", "layers_pattern"),
    *("rank_pattern", "alpha_pattern", "init_lora_weights"),
    # how training began; what it says about the base model is in init_lora_weights
    *("loftq_config", "eva_config", "runtime_config"),
}


def is_plain(config: PeftConfig) -> bool:
    """Return whether an adapter is LoRA in its simplest form, which leaves base weights alone."""
    if type(config) is not LoraConfig or config.init_lora_weights not in KEEPS_BASE:
        return False
    if config.task_type not in (None, "CAUSAL_LM"):
        return False
    settings: Any = config
    return all(
        getattr(settings, each.name) in (default_value(each), None, [], {})
        for each in fields(settings)
        if each.name not in _PLAIN
    )


def has_plain_layers(model: LoraCut) -> bool:
    """Return whether all modules of a model with an adapter are linear, and in decoder layers.

    PEFT can change a config while it loads it, for example where experts are one tensor now.
    """
    if not is_plain(model.model.peft_config["default"]):
        return False
    for module in model.modules:
        layer: Any = module.adapted
        if not isinstance(layer, LoraLayer) or isinstance(layer, ParamWrapper):
            return False
        matrices = [*layer.lora_A.values(), *layer.lora_B.values()]
        if layer.lora_variant or len(matrices) != 2:
            return False
        if any(each.weight.ndim != 2 or each.weight.is_meta for each in matrices):
            return False
        if model.stack.layer_of(module.name) is None:
            return False
    return True


@dataclass(frozen=True)
class ByModules:
    """What a written cut must do, module by module.

    Attributes:
        structure: The base model without weights; it is not changed.
        expected: By the path of a kept module: A, B and the factor on their product.
    """

    structure: nn.Module
    expected: Mapping[str, tuple[torch.Tensor, torch.Tensor, float]]
    name: ClassVar = "modules"

    def base(self) -> Any:
        """Return what PEFT loads the folder onto."""
        return hollow(copy.deepcopy(self.structure)).eval()

    @staticmethod
    def of(structure: nn.Module, model: LoraCut, cut: Cut) -> ByModules:
        """Return what a cut of an adapter must do.

        Args:
            structure: The base model without weights and without the adapter.
            model: A model of that structure with the whole adapter, unmoved.
            cut: The cut.
        """
        expected = {}
        for module in model.kept(cut):
            layer: Any = module.adapted
            ((name, a),) = layer.lora_A.items()
            # as LoraCut.move scales
            strength = cut.strengths[module.depth]
            factor = layer.scaling[name] if strength == 1 else layer.scaling[name] * strength
            expected[module.name] = (a.weight, layer.lora_B[name].weight, factor)
        return ByModules(structure, expected)

    def compare(self, model: PeftModel) -> float:
        """Compare a model that PEFT has made of a written folder; return the largest difference.

        Args:
            model: The adapter on a :func:`hollow` copy of the structure.

        Raises:
            OutputError: It is not the cut.
        """
        base: Any = model.get_base_model()
        if not is_plain(model.peft_config["default"]):
            raise _refusal("its config asks for more than plain LoRA")
        found = adapted_modules(base)
        if found.keys() != self.expected.keys():
            first = min(found.keys() ^ self.expected.keys())
            raise OutputError(
                f"nothing was written: after reloading, PEFT adapts {len(found)} modules instead "
                f"of {len(self.expected)} (first difference: {first})"
            )
        changed = sorted(dict(_parts(self.structure)).items() ^ dict(_parts(base)).items())
        if changed:
            raise _refusal(f"{changed[0][0]} of the base model is another one")
        return max(self._difference(name, found[name]) for name in sorted(found))

    def _difference(self, name: str, module: Any) -> float:
        """Return how far what a module adds is from what it must add, which must be 0.0."""
        a, b, factor = self.expected[name]
        loaded: list[torch.Tensor] = [
            matrix.weight
            for matrices in (module.lora_A, module.lora_B)
            for matrix in matrices.values()
        ]
        same = len(loaded) == 2 and all(map(torch.equal, loaded, (a.float(), b.float())))
        if not same:
            raise _refusal(f"{name} has other tensors than in the cut")
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(_ROWS, a.shape[1], generator=generator)
        with torch.no_grad():
            base_layer, module.base_layer = module.base_layer, _Nothing(b.shape[0])
            try:
                added = module(x)
            finally:
                module.base_layer = base_layer
            # The same operations in the same order as PEFT's, without PEFT. On the same tensors in
            # memory: where one begins there can change how a product rounds.
            right = nn.functional.linear(nn.functional.linear(x, loaded[0]), loaded[1]) * factor
        if added.shape != right.shape or not torch.equal(added, right):
            raise _refusal(f"{name} computes something else than in the cut")
        return float((added - right).abs().max())


class _Nothing(nn.Module):
    """Takes the place of a base layer and returns zeros."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(*x.shape[:-1], self._width)


def hollow(structure: nn.Module) -> nn.Module:
    """Give a model without weights (on the meta device) weights that take no memory, in place.

    PEFT takes them for ordinary weights. All elements of a tensor are one number in memory, so
    that writing to one in place fails. Tied tensors stay tied.
    """
    known: dict[int, torch.Tensor] = {}

    def filled(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in known:
            kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
            value: torch.Tensor = torch.zeros((), dtype=kind).expand(tensor.shape)
            if isinstance(tensor, nn.Parameter):
                value = nn.Parameter(value, requires_grad=False)
            known[id(tensor)] = value
        return known[id(tensor)]

    for module in structure.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, filled(parameter))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, filled(buffer))
    return structure


def _parts(base: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield what a base model consists of besides an adapter: classes, and shapes of tensors.

    What is adapted counts as its base layer. A tensor that is not hollow any more has been written
    to or replaced.
    """
    inside = "\n"
    for path, module in base.named_modules(remove_duplicate=False):
        if path.startswith(inside):
            continue
        original: Any = module
        if isinstance(module, LoraLayer):
            original, inside = module.get_base_layer(), f"{path}."
        yield path, type(original).__name__
        for name, tensor in (
            *original.named_parameters(recurse=False),
            *original.named_buffers(recurse=False),
        ):
            empty = tensor.is_meta or not any(tensor.stride())
            yield f"{path}.{name}", (tuple(tensor.shape), empty or tensor.numel() < 2)


def _refusal(what: str) -> OutputError:
    return OutputError(
        f"nothing was written: after reloading, {what} (PEFT cannot express this cut; merge it "
        "with --merge)"
    )
