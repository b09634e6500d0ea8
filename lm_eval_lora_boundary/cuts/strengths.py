"""Which parts of an adapter can be scaled: those for which a strength has a meaning."""

from __future__ import annotations

from collections.abc import Container, Iterable

from ..errors import AdapterError
from ..upstream.peft import (
    ALoraLinearVariant,
    BaseTunerLayer,
    BdLoraLinearVariant,
    MiCAEmbeddingVariant,
    MiCALinearVariant,
)
from .keep import Cut
from .kinds import Kind
from .modules import AdaptedModule

# Variants whose output is PEFT's scaling times an update that does not depend on the scaling.
_LINEAR_VARIANTS = (
    *(ALoraLinearVariant, BdLoraLinearVariant),
    *(MiCALinearVariant, MiCAEmbeddingVariant),
)


def refuse_strengths(
    cut: Cut,
    modules: Iterable[AdaptedModule],
    kind: Kind,
    rewritten: Container[int],
    unrecorded: str,
) -> None:
    """Refuse a cut that scales something that can only be kept or dropped.

    Args:
        cut: The cut.
        modules: What the adapter changes.
        kind: What kind of adapter it is.
        rewritten: ``id`` of the base modules whose weights loading the adapter rewrote.
        unrecorded: The setting with which PEFT may have rewritten base tensors that were not
            recorded, or "".

    Raises:
        AdapterError: A strength other than 0 and 1 has no meaning for a module.
    """
    for module in modules:
        strength = cut.strengths[module.depth]
        if strength in (0, 1):
            continue
        if reason := obstacle(module, kind, rewritten, unrecorded):
            raise AdapterError(
                f"{cut} scales layer {module.depth} by {strength:g}, but {reason}, so a strength "
                f"has no meaning for {module.name}; keep the layer in full or drop it"
            )


def obstacle(module: AdaptedModule, kind: Kind, rewritten: Container[int], unrecorded: str) -> str:
    """Return why a module cannot be scaled, or "".

    The arguments are those of :func:`refuse_strengths`.
    """
    if module.overwrite is not None:
        return "the adapter holds a whole tensor"
    if not isinstance(module.adapted, BaseTunerLayer):
        return f"the adapter has a {type(module.adapted).__name__} and not {kind.name}"
    if not kind.scaling:
        return f"PEFT has no scaling of {kind.name}"
    for layer in module.adapted.modules():
        for variant in getattr(layer, "lora_variant", {}).values():
            if not isinstance(variant, _LINEAR_VARIANTS):
                return f"its LoRA is a {type(variant).__name__}, which does not scale linearly"
    if id(module.original) in rewritten:
        return "loading the adapter rewrites the base weights under its LoRA"
    return f"{unrecorded} rewrites base tensors" if unrecorded else ""
