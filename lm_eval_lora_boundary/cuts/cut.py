"""Keep, drop or scale the adapter layer by layer in a PEFT model.

A dropped module is physically replaced by its base layer, so no LoRA arithmetic and no LoRA memory
is left. The same rule holds for LoRA modules, ``modules_to_save``, trainable tokens and overwritten
base tensors: each goes with the layer at its depth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from peft import PeftModel
from torch import nn

from ..errors import AdapterError
from ..upstream.peft import AuxiliaryTrainingWrapper, BaseTunerLayer, LoraLayer
from .keep import Cut
from .kinds import Kind, kind_of, only_config, rewrites_base
from .layers import DecoderStack, bypassed, depths, find_decoder_stack, idle
from .modules import AdaptedModule, Overwrite, adapted_modules, merge_modules, replace_module
from .strengths import obstacle, refuse_strengths

CUT = "_lora_boundary_cut"  # attribute of a PEFT model: its cut


class LoraCut:
    """A model with an adapter whose cut can be changed.

    Wherever it takes a cut, it also takes a boundary K, which stands for the cut that keeps layers
    ``0..K``. As a context manager, it goes back to the previous cut at the end.

    Attributes:
        model: The PEFT model.
        kind: What can be done with adapters of its kind.
        stack: Decoder layers of the base model.
        modules: What the adapter changes, in the order of the model.
        current: The current cut; at first the whole adapter.
    """

    def __init__(
        self,
        model: PeftModel,
        overwrites: Iterable[Overwrite] | None = None,
        *,
        lowest: int = -1,
    ) -> None:
        """Find what the adapter changes, and change nothing.

        Args:
            model: A PEFT model with one unmerged adapter.
            overwrites: Base tensors that loading the adapter changed (see :func:`.load_adapter`),
                to be restored where layers are dropped. None: not recorded.
            lowest: ``overwrites`` were recorded for layers above this one.

        Raises:
            AdapterError: The model does not have exactly one adapter, the adapter cannot be cut by
                layers or is merged, or the model has a cut already.
            ModelError: The decoder layers cannot be found.
        """
        if getattr(model, CUT, None) is not None:
            raise AdapterError("this model has a cut already; move that cut")
        self.model = model
        self._lowest = lowest
        self._before: list[Cut] = []
        self._base: nn.Module = model.get_base_model()
        self._config: Any = only_config(model)
        self.kind: Kind = kind_of(self._config)
        self._base_kept = overwrites is not None
        self._overwrites = tuple(overwrites or ())
        self.stack: DecoderStack = find_decoder_stack(self._base)
        self.modules: tuple[AdaptedModule, ...] = tuple(self._find_modules())
        if not self.modules:
            raise AdapterError(
                "the adapter matches no module of this base model; give the base model that it was "
                "trained on"
            )
        self._scaling = {
            id(layer): dict(getattr(layer, self.kind.scaling))
            for module in self.modules
            for layer in _scaled_layers(module, self.kind)
        }
        self.current = Cut.up_to(self.stack.count - 1, self.stack.count)
        setattr(model, CUT, self)

    @property
    def boundary(self) -> int | None:
        """The current boundary; None if the current cut is not a boundary."""
        return self.current.boundary

    @property
    def overwrites_base(self) -> bool:
        """Whether loading the adapter changed tensors of the base model."""
        return bool(self._overwrites)

    @property
    def rewritten(self) -> list[str]:
        """Names of the base tensors that the adapter's initialisation or variant changed."""
        return [overwrite.name for overwrite in self._overwrites if overwrite.rewritten]

    def _find_modules(self) -> Iterator[AdaptedModule]:
        found = adapted_modules(self._base)
        where = depths(self._base, self.stack, found)
        self._refuse_unused(found)
        for name, module in found.items():
            if getattr(module, "merged", False):
                raise AdapterError(f"{name} is merged; unmerge the adapter before cutting it")
            original = _original(module)
            base_parameters = {id(p) for p in original.parameters()}
            own = (p for p in module.parameters() if id(p) not in base_parameters)
            sizes = {id(p): p.numel() for p in own}
            yield AdaptedModule(name, where[name], sizes, module, original)
        for overwrite in self._overwrites:
            if overwrite.counts:
                sizes = {id(overwrite): overwrite.trained.numel()}
                yield AdaptedModule(
                    overwrite.name, overwrite.depth, sizes, None, overwrite.owner, overwrite
                )

    def _refuse_unused(self, names: Collection[str]) -> None:
        """Refuse an adapter none of whose modules runs when the model reads text."""
        if self._overwrites or any(self.stack.layer_of(name) is not None for name in names):
            return
        unused = idle(self._base, self.stack, names)
        if unused and unused == set(names):
            raise AdapterError(
                f"none of the {len(unused)} modules that the adapter changes (such as "
                f"{min(unused)}) runs when the model reads text; expected modules in the "
                "decoder layers. An adapter of images or sound cannot be evaluated here"
            )

    def cut(self, cut: Cut | int | None = None) -> Cut:
        """Return a cut of this model; a boundary becomes the cut that it stands for.

        Args:
            cut: A cut, a boundary, or None for the current cut.

        Raises:
            BoundaryError: The boundary is not in ``-1..N-1``.
        """
        if cut is None:
            return self.current
        return cut if isinstance(cut, Cut) else Cut.up_to(cut, self.stack.count)

    def kept(self, cut: Cut | int | None = None) -> list[AdaptedModule]:
        """Return the modules that a cut (default: the current one) keeps or scales."""
        strengths = self.cut(cut).strengths
        return [module for module in self.modules if strengths[module.depth] != 0]

    def dropped(self, cut: Cut | int | None = None) -> list[AdaptedModule]:
        """Return the modules that a cut (default: the current one) drops."""
        strengths = self.cut(cut).strengths
        return [module for module in self.modules if strengths[module.depth] == 0]

    def move(self, cut: Cut | int) -> None:
        """Apply a cut: keep, drop or scale the adapter in each layer.

        A strength multiplies PEFT's own scaling, as ``scale_layer`` does.

        Raises:
            BoundaryError: The boundary is not in ``-1..N-1``.
            AdapterError: A strength has no meaning for a module, or base weights of a dropped
                layer cannot be restored.
        """
        cut = self.cut(cut)
        if self._overwrites and cut.lowest_dropped <= self._lowest:
            raise AdapterError(
                "the base tensors that this adapter overwrites were kept only for layers above "
                f"{self._lowest}; load the adapter again for {cut}"
            )
        self._refuse_lost_base(cut)
        self.refuse_meaningless(cut)
        for module in self.modules:
            strength = cut.strengths[module.depth]
            if module.adapted is not None:
                replacement = module.adapted if strength else module.original
                replace_module(self._base, module.name, replacement)
            for layer in _scaled_layers(module, self.kind) if strength else ():
                for name, scaling in self._scaling[id(layer)].items():
                    scaled = scaling if strength == 1 else scaling * strength
                    getattr(layer, self.kind.scaling)[name] = scaled
        for overwrite in self._overwrites:
            kept = cut.strengths[overwrite.depth] != 0
            overwrite.put(overwrite.trained if kept else overwrite.original)
        self.current = cut

    def refuse_meaningless(self, cut: Cut) -> None:
        """Raise an AdapterError if the cut scales what can only be kept or dropped."""
        refuse_strengths(cut, self.modules, self.kind, self._rewritten, self._unrecorded)

    def obstacle(self) -> str:
        """Return which module has no strength between 0 and 1, and why, or ""."""
        reasons = (
            (module.name, obstacle(module, self.kind, self._rewritten, self._unrecorded))
            for module in self.modules
        )
        return next((f"{name}: {reason}" for name, reason in reasons if reason), "")

    @property
    def _rewritten(self) -> set[int]:
        """``id`` of the base modules whose weights loading the adapter rewrote."""
        return {id(overwrite.owner) for overwrite in self._overwrites if overwrite.rewritten}

    @property
    def _unrecorded(self) -> str:
        """The setting with which PEFT may have rewritten base tensors unrecorded, or ""."""
        if self._base_kept:
            return ""
        bias = getattr(self._config, "bias", "none")
        return rewrites_base(self._config) or ("" if bias == "none" else f"bias={bias!r}")

    def _refuse_lost_base(self, cut: Cut) -> None:
        """Refuse to drop modules whose base weights the adapter changed and that are lost."""
        dropped = [m for m in self.dropped(cut) if isinstance(m.adapted, BaseTunerLayer)]
        setting = self._unrecorded
        if setting and dropped:
            raise AdapterError(
                f"{setting} makes PEFT rewrite base tensors when it loads the adapter, so dropping "
                f"{dropped[0].name} would not restore the base model. Load the adapter with "
                "LoraBoundaryLM, which keeps the original tensors."
            )

    def _refuse_bypassed(self) -> None:
        """Refuse to merge LoRA that the unmerged model does not use."""
        linear: dict[str, Any] = {
            m.name: m.adapted for m in self.kept() if isinstance(m.adapted, LoraLayer)
        }
        for name in bypassed(self._base, self.stack, linear):
            deltas = (linear[name].get_delta_weight(each) for each in linear[name].active_adapters)
            if not any(bool(delta.any()) for delta in deltas):
                continue
            raise AdapterError(
                f"the model reads the weight of {name} without calling the module, so the "
                "adapter's LoRA there does nothing unless it is merged, and merging would change "
                "the results; leave out merge, or train without LoRA there"
            )

    def push(self, cut: Cut | int) -> None:
        """Apply a cut, and come back to the current one at the end of a ``with`` block.

        See :meth:`move` for the errors.
        """
        before = self.current
        self.move(cut)
        self._before.append(before)

    def __enter__(self) -> LoraCut:
        """Return the cut itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Go back to the cut before this block."""
        self.move(self._before.pop() if self._before else self.stack.count - 1)

    def finish(self, *, merge: bool = False) -> Any:
        """Make the current cut final, so that the memory of dropped modules can be freed.

        The cut cannot be used afterwards.

        Args:
            merge: Merge the kept modules into the base weights.

        Returns:
            The model to use from now on: the PEFT model, or the plain base model if nothing is
            kept or all is merged.
        """
        plain = merge or not self.kept()
        if merge:
            self._refuse_bypassed()
            merge_modules(self._base, self.kept())
        self.modules = ()
        self._overwrites = ()
        if not plain:
            return self.model
        if hasattr(self._base, "peft_config"):
            del self._base.peft_config
        return self._base


def _scaled_layers(module: AdaptedModule, kind: Kind) -> list[nn.Module]:
    """Return the layers of a module that have a scaling; experts have one inside the other."""
    if not kind.scaling or not isinstance(module.adapted, BaseTunerLayer):
        return []
    return [layer for layer in module.adapted.modules() if isinstance(layer, BaseTunerLayer)]


def _original(module: Any) -> Any:
    if isinstance(module, AuxiliaryTrainingWrapper):
        return module.original_module
    return module.get_base_layer()
