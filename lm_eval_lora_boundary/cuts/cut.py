"""Keep the LoRA modules of layers ``0..K`` of a PEFT model and drop the others.

A dropped module is physically replaced by its base layer, so that no LoRA arithmetic and no LoRA
memory is left. One rule decides for LoRA modules, ``modules_to_save``, trainable tokens and base
tensors that the adapter file overwrites alike: what sits deeper than the boundary is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from ..errors import AdapterError
from .boundaries import check_boundary
from .layers import DecoderStack, depths, find_decoder_stack
from .modules import AdaptedModule, Overwrite, merge_modules, replace_module

if TYPE_CHECKING:
    from types import TracebackType

# initialisations that leave the base weights alone; others (pissa, olora, corda, lora_ga, loftq,
# ...) subtract the adapter's initial product from them when the adapter is loaded
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva")


_CUT = "_lora_boundary_cut"  # attribute of a PEFT model: the cut in force


def rewrites_base(config: LoraConfig) -> str:
    """Return the setting that may make PEFT change base weights when it loads an adapter, or "".

    This is what can be said without the weights from before. Where an adapter is loaded onto a
    base model by :func:`.loading.load_adapter`, the weights themselves are compared.
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
            "layer_replication repeats layers of the base model, so that its modules have no "
            "single depth; boundaries are not defined for this adapter"
        )
    if getattr(config, "arrow_config", None) is not None:
        raise AdapterError(
            "arrow_config routes tokens between several adapters, and a boundary needs one; give "
            "one of those that it routes between"
        )


class LoraCut:
    """A LoRA-adapted model whose boundary can be moved.

    Use it as a context manager to go back to what was before at the end.

    Attributes:
        model: The PEFT model.
        stack: Decoder layers of the base model.
        modules: What the adapter changes, in the model's own order.
        boundary: The boundary in force; N-1 for the full adapter.
    """

    def __init__(
        self,
        model: PeftModel,
        overwrites: Iterable[Overwrite] | None = None,
        *,
        lowest: int = -1,
    ) -> None:
        """Find what the adapter changes; changes nothing.

        Args:
            model: A PEFT model with one unmerged LoRA adapter.
            overwrites: Base tensors that loading the adapter changed, so that they can be put
                back above the boundary (see :func:`.loading.load_adapter`). None: not recorded.
            lowest: The lowest boundary that ``overwrites`` were recorded for.

        Raises:
            AdapterError: The model holds no LoRA adapter or several, a merged one, or one whose
                dropped modules cannot be returned to the base model.
            ModelError: The decoder layers cannot be found.
        """
        if getattr(model, _CUT, None) is not None:
            raise AdapterError("this model is cut already; move the boundary of that cut")
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
            raise AdapterError("the adapter matches no module of this base model")
        self.boundary = self.stack.count - 1
        setattr(model, _CUT, self)

    @property
    def overwrites_base(self) -> bool:
        """Tell whether loading the adapter changed tensors of the base model."""
        return bool(self._overwrites)

    @property
    def rewritten(self) -> list[str]:
        """Names of the base tensors that the adapter's initialisation or variant changed."""
        return [each.name for each in self._overwrites if each.rewritten]

    def _find_modules(self) -> Iterator[AdaptedModule]:
        found: dict[str, nn.Module] = {}
        inside = "\n"  # prefix of the adapted module being walked; names hold no newline
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
                yield AdaptedModule(
                    overwrite.name,
                    overwrite.depth,
                    overwrite.trained.numel(),
                    None,
                    overwrite.owner,
                    overwrite,
                )

    def kept(self, boundary: int | None = None) -> list[AdaptedModule]:
        """Return the modules that ``boundary`` (default: the one in force) keeps."""
        limit = self.boundary if boundary is None else boundary
        return [module for module in self.modules if module.depth <= limit]

    def dropped(self, boundary: int | None = None) -> list[AdaptedModule]:
        """Return the modules that ``boundary`` (default: the one in force) drops."""
        limit = self.boundary if boundary is None else boundary
        return [module for module in self.modules if module.depth > limit]

    def move(self, boundary: int) -> None:
        """Keep the adapter in layers ``0..boundary`` and drop it above.

        Raises:
            BoundaryError: The boundary is not in ``-1..N-1``.
            AdapterError: The base weights above the boundary cannot be had back.
        """
        check_boundary(boundary, self.stack.count)
        if self._overwrites and boundary < self._lowest:
            raise AdapterError(
                f"the base tensors that this adapter overwrites were kept for boundary="
                f"{self._lowest} and above only; load the adapter again to go lower"
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
        """Refuse to drop modules whose base weights the adapter changed and nobody kept."""
        dropped = [m for m in self.dropped(boundary) if isinstance(m.adapted, LoraLayer)]
        if self._base_kept or not dropped:
            return
        name = dropped[0].name
        if setting := rewrites_base(self._config):
            raise AdapterError(
                f"{setting} makes PEFT rewrite base weights when it loads the adapter, so dropping "
                f"{name} would not give the base model back. Load the adapter through "
                "LoraBoundaryLM, which keeps the original weights."
            )
        if self._config.bias != "none":
            raise AdapterError(
                f"bias={self._config.bias!r} trained biases of the base model in place, so "
                f"dropping {name} would not give the base model back. Load the adapter through "
                "LoraBoundaryLM, which keeps the original biases."
            )

    def __enter__(self) -> LoraCut:
        """Return the cut itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Go back to the boundary before this block."""
        self.move(self._before.pop() if self._before else self.stack.count - 1)

    def finish(self, *, merge: bool = False) -> Any:
        """Make the boundary final and return the model to use from now on.

        What was dropped is forgotten, so that its memory can be freed; this object must not be
        used afterwards.

        Args:
            merge: Merge the kept modules into the base weights.

        Returns:
            The PEFT model; the plain base model if nothing is kept or everything is merged.
        """
        plain = merge or not self.kept()
        if merge:
            merge_modules(self._base, self.kept())
        self.modules = ()
        self._overwrites = ()
        # a later cut could not know what is gone
        setattr(self.model, _CUT, self)
        if not plain:
            return self.model
        if hasattr(self._base, "peft_config"):
            del self._base.peft_config
        return self._base


def apply_boundary(model: PeftModel, boundary: int) -> LoraCut:
    """Keep a model's LoRA in layers ``0..boundary`` and drop it above, in place.

    >>> model = PeftModel.from_pretrained(base, "my-adapter")  # doctest: +SKIP
    >>> with apply_boundary(model, 20) as cut:  # doctest: +SKIP
    ...     logits = model(input_ids).logits  # (batch, seq, vocab)

    Args:
        model: A PEFT model with one unmerged LoRA adapter.
        boundary: Last layer whose LoRA is kept, ``-1..N-1``; -1 gives the base model, N-1 the
            full adapter.

    Base tensors that the adapter's file held whole, such as the embeddings of a grown vocabulary,
    cannot be seen in a loaded model and stay as they are; LoraBoundaryLM puts them back.

    Returns:
        The cut, the same for every call on a model. ``cut.move(K)`` moves the boundary, leaving a
        ``with`` block goes back to the boundary before it, ``cut.finish()`` makes the cut final
        and frees what was dropped.

    Raises:
        BoundaryError: The boundary is not an integer in ``-1..N-1``.
        AdapterError: The adapter cannot be cut faithfully; the message says why and what to do.
        ModelError: The decoder layers cannot be found.
    """
    cut: LoraCut = getattr(model, _CUT, None) or LoraCut(model)
    if not cut.modules:
        raise AdapterError("the boundary of this model is final; load the adapter again")
    before = cut.boundary
    cut.move(boundary)
    cut._before.append(before)
    return cut


def _original(module: Any) -> Any:
    """Return the module that the adapter wraps."""
    if isinstance(module, AuxiliaryTrainingWrapper):
        return module.original_module
    return module.get_base_layer()


def _only_lora_config(model: PeftModel) -> LoraConfig:
    configs = model.peft_config
    if len(configs) != 1:
        raise AdapterError(
            f"expected a model with one adapter, got {len(configs)} ({', '.join(configs)}); "
            "delete the others with delete_adapter()"
        )
    config = next(iter(configs.values()))
    if not isinstance(config, LoraConfig):
        raise AdapterError(
            f"expected a LoRA adapter, got peft_type={getattr(config, 'peft_type', '?')}"
        )
    check_supported(config)
    return config
