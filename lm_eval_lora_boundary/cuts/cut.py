"""Keep the LoRA modules of layers ``0..K`` of a PEFT model and drop the others.

A dropped module is physically replaced by its base layer, so no LoRA arithmetic and no LoRA memory
is left. The same rule holds for LoRA modules, ``modules_to_save``, trainable tokens and overwritten
base tensors: what is deeper than the boundary is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from ..errors import AdapterError
from .boundaries import check_boundary
from .layers import DecoderStack, depths, find_decoder_stack
from .modules import AdaptedModule, Overwrite, merge_modules, replace_module

# Initialisations that leave the base weights alone. Others (pissa, olora, corda, lora_ga, loftq,
# ...) subtract the adapter's initial product from them when the adapter is loaded.
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva")

CUT = "_lora_boundary_cut"  # attribute of a PEFT model: its cut


def rewrites_base(config: LoraConfig) -> str:
    """Return the setting that may make PEFT change base weights when it loads an adapter, or "".

    :func:`.load_adapter` compares the weights themselves. This is for when the weights from
    before are not known.
    """
    if getattr(config, "kasa_config", None) is not None:
        return "kasa_config"
    if config.init_lora_weights not in KEEPS_BASE:
        return f"init_lora_weights={config.init_lora_weights!r}"
    return ""


def check_supported(config: LoraConfig) -> None:
    """Refuse LoRA variants that boundaries are not defined for.

    Raises:
        AdapterError: The config asks for one.
    """
    if config.layer_replication:
        raise AdapterError(
            "layer_replication repeats layers of the base model, so its modules have no single "
            "depth; boundaries are not defined for this adapter"
        )
    if getattr(config, "arrow_config", None) is not None:
        raise AdapterError(
            "arrow_config routes tokens between several adapters, and a boundary needs one "
            "adapter; give one of those it routes between"
        )


class LoraCut:
    """A model with a LoRA adapter whose boundary can be moved.

    As a context manager, it goes back to the previous boundary at the end.

    Attributes:
        model: The PEFT model.
        stack: Decoder layers of the base model.
        modules: What the adapter changes, in the order of the model.
        boundary: The current boundary; N-1 for the whole adapter.
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
            model: A PEFT model with one unmerged LoRA adapter.
            overwrites: Base tensors that loading the adapter changed (see :func:`.load_adapter`),
                to be restored above the boundary. None: not recorded.
            lowest: The lowest boundary for which ``overwrites`` were recorded.

        Raises:
            AdapterError: The model does not have exactly one LoRA adapter, the adapter is merged,
                or the model has a cut already.
            ModelError: The decoder layers cannot be found.
        """
        if getattr(model, CUT, None) is not None:
            raise AdapterError("this model has a cut already; move the boundary of that cut")
        self.model = model
        self._lowest = lowest
        self._before: list[int] = []
        self._base: nn.Module = model.get_base_model()
        self._config = _only_lora_config(model)
        self._base_kept = overwrites is not None
        self._overwrites = tuple(overwrites or ())
        self.stack: DecoderStack = find_decoder_stack(self._base)
        self.modules: tuple[AdaptedModule, ...] = tuple(self._find_modules())
        if not self.modules:
            raise AdapterError(
                "the adapter matches no module of this base model; give the base model that it was "
                "trained on"
            )
        self.boundary = self.stack.count - 1
        setattr(model, CUT, self)

    @property
    def overwrites_base(self) -> bool:
        """Whether loading the adapter changed tensors of the base model."""
        return bool(self._overwrites)

    @property
    def rewritten(self) -> list[str]:
        """Names of the base tensors that the adapter's initialisation or variant changed."""
        return [overwrite.name for overwrite in self._overwrites if overwrite.rewritten]

    def _find_modules(self) -> Iterator[AdaptedModule]:
        found: dict[str, nn.Module] = {}
        inside = "\n"  # prefix of the last adapted module; no name has a newline
        for name, module in self._base.named_modules():
            if name.startswith(inside):
                continue
            if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
                found[name] = module
                inside = f"{name}."
        where = depths(self._base, self.stack, found)
        for name, module in found.items():
            if getattr(module, "merged", False):
                raise AdapterError(f"{name} is merged; unmerge the adapter before cutting it")
            original = _original(module)
            base_parameters = {id(p) for p in original.parameters()}
            own = (p for p in module.parameters() if id(p) not in base_parameters)
            yield AdaptedModule(name, where[name], sum(p.numel() for p in own), module, original)
        for overwrite in self._overwrites:
            if overwrite.counts:
                size = overwrite.trained.numel()
                yield AdaptedModule(
                    overwrite.name, overwrite.depth, size, None, overwrite.owner, overwrite
                )

    def kept(self, boundary: int | None = None) -> list[AdaptedModule]:
        """Return the modules that ``boundary`` (default: the current one) keeps."""
        limit = self.boundary if boundary is None else boundary
        return [module for module in self.modules if module.depth <= limit]

    def dropped(self, boundary: int | None = None) -> list[AdaptedModule]:
        """Return the modules that ``boundary`` (default: the current one) drops."""
        limit = self.boundary if boundary is None else boundary
        return [module for module in self.modules if module.depth > limit]

    def move(self, boundary: int) -> None:
        """Keep the adapter in layers ``0..boundary`` and drop it above.

        Raises:
            BoundaryError: The boundary is not in ``-1..N-1``.
            AdapterError: The base weights above the boundary cannot be restored.
        """
        check_boundary(boundary, self.stack.count)
        if self._overwrites and boundary < self._lowest:
            raise AdapterError(
                "the base tensors that this adapter overwrites were kept only for "
                f"boundary={self._lowest} and above; load the adapter again to go lower"
            )
        self._refuse_lost_base(boundary)
        for module in self.modules:
            if module.adapted is not None:
                keep = module.depth <= boundary
                replacement = module.adapted if keep else module.original
                replace_module(self._base, module.name, replacement)
        for overwrite in self._overwrites:
            overwrite.put(overwrite.trained if overwrite.depth <= boundary else overwrite.original)
        self.boundary = boundary

    def _refuse_lost_base(self, boundary: int) -> None:
        """Refuse to drop modules whose base weights the adapter changed and that are lost."""
        dropped = [m for m in self.dropped(boundary) if isinstance(m.adapted, LoraLayer)]
        if self._base_kept or not dropped:
            return
        setting = rewrites_base(self._config)
        if not setting and self._config.bias != "none":
            setting = f"bias={self._config.bias!r}"
        if setting:
            raise AdapterError(
                f"{setting} makes PEFT rewrite base tensors when it loads the adapter, so dropping "
                f"{dropped[0].name} would not restore the base model. Load the adapter with "
                "LoraBoundaryLM, which keeps the original tensors."
            )

    def push(self, boundary: int) -> None:
        """Move the boundary, and come back to this one at the end of a ``with`` block.

        See :meth:`move` for the errors.
        """
        before = self.boundary
        self.move(boundary)
        self._before.append(before)

    def __enter__(self) -> LoraCut:
        """Return the cut itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Go back to the boundary before this block."""
        self.move(self._before.pop() if self._before else self.stack.count - 1)

    def finish(self, *, merge: bool = False) -> Any:
        """Make the boundary final, so that the memory of dropped modules can be freed.

        The cut cannot be used afterwards.

        Args:
            merge: Merge the kept modules into the base weights.

        Returns:
            The model to use from now on: the PEFT model, or the plain base model if nothing is
            kept or all is merged.
        """
        plain = merge or not self.kept()
        if merge:
            merge_modules(self._base, self.kept())
        self.modules = ()
        self._overwrites = ()
        if not plain:
            return self.model
        if hasattr(self._base, "peft_config"):
            del self._base.peft_config
        return self._base


def _original(module: Any) -> Any:
    if isinstance(module, AuxiliaryTrainingWrapper):
        return module.original_module
    return module.get_base_layer()


def _only_lora_config(model: PeftModel) -> LoraConfig:
    configs = model.peft_config
    if len(configs) != 1:
        raise AdapterError(
            f"expected a model with one adapter, got {len(configs)} ({', '.join(configs)}); "
            "delete all but one with delete_adapter()"
        )
    config = next(iter(configs.values()))
    if not isinstance(config, LoraConfig):
        raise AdapterError(
            f"peft_type={getattr(config, 'peft_type', '?')}; expected LORA, which boundaries need"
        )
    check_supported(config)
    return config
