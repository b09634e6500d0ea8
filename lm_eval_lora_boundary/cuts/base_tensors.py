"""Which base tensors change when an adapter is loaded, and what they were before.

PEFT writes some adapters into the base weights: trained biases, embeddings of a grown vocabulary,
initialisations such as PiSSA that subtract the adapter's initial product, variants such as KaSA
that remove the smallest singular values. There is no list of these cases here: every base tensor
is compared with what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import AdapterError
from ..upstream.peft import BaseTunerLayer
from .adapter_folder import AdapterFolder
from .base_model import weightless
from .checksums import checksum
from .kinds import rewrites_base, rewriting_init
from .layers import DecoderStack, depths
from .modules import Overwrite
from .vocabulary import growing

_Content = tuple[tuple[int, ...], torch.dtype, list[int]]  # shape, type, checksum


@dataclass(eq=False)
class _Tensor:
    """A base tensor as it is before the adapter is loaded.

    Attributes:
        path: Path of the module that owns it.
        owner: That module.
        attribute: Its name there.
        key: Id of the tensor, the same for tied ones.
        content: What it holds; None on the meta device.
        in_file: Whether the adapter's file holds it.
        kept: The tensor itself, if it may have to be restored.
        values: Its memory, or a copy.
    """

    path: str
    owner: nn.Module
    attribute: str
    key: int
    content: _Content | None
    in_file: bool
    kept: torch.Tensor | None = None
    values: torch.Tensor | None = None

    @property
    def name(self) -> str:
        """Its path in the base model."""
        return f"{self.path}.{self.attribute}"

    @property
    def now(self) -> torch.Tensor:
        """The tensor that the owner has now."""
        tensor: torch.Tensor = getattr(self.owner, self.attribute)
        return tensor

    def keep(self, *, copy: bool = False) -> None:
        self.kept = self.now
        self.values = self.kept.detach().clone() if copy else self.kept.detach()

    def original(self) -> torch.Tensor | None:
        """Return the tensor as it was, or None if its values are lost."""
        if self.kept is None or self.values is None or self.content is None:
            return self.kept
        if self.kept is not self.now and _content(self.kept) == self.content:
            return self.kept
        # a quantised weight is more than its values
        plain = type(self.kept) in (nn.Parameter, torch.Tensor)
        if not plain or _content(self.values) != self.content:
            return None
        if isinstance(self.kept, nn.Parameter):
            return nn.Parameter(self.values, requires_grad=False)
        return self.values


class BaseTensors:
    """The tensors of a base model as they are before an adapter is loaded.

    Tensors that PEFT replaces are kept by a reference, which takes memory only for those. Tensors
    that it is known to write to in place are copied.
    """

    def __init__(
        self, model: nn.Module, stack: DecoderStack, adapter: AdapterFolder, lowest: int
    ) -> None:
        """Record all tensors, and change nothing.

        Args:
            model: The base model.
            stack: Its decoder layers.
            adapter: The adapter that will be loaded.
            lowest: The lowest boundary that will be used. Above it, originals are kept.

        Raises:
            AdapterError: The adapter overwrites an offloaded tensor.
        """
        self._model = model
        self._stack = stack
        self._adapter = adapter
        self._lowest = lowest
        saved_modules = getattr(adapter.config, "modules_to_save", None) or ()
        in_file = adapter.saved_originals() | {
            name
            for name in adapter.whole_tensors()
            if not any(f".{module}." in f".{name}" for module in saved_modules)
        }
        owned = [
            (path, owner, attribute, tensor)
            for path, owner in model.named_modules()
            for attribute, tensor in (
                *owner.named_parameters(recurse=False),
                *owner.named_buffers(recurse=False),
            )
        ]
        contents = _contents(tensor for *_, tensor in owned)
        self._tensors = [
            _Tensor(path, owner, name, id(t), contents[id(t)], f"{path}.{name}" in in_file)
            for path, owner, name, t in owned
        ]
        # what the file or the vocabulary is known to change, and tensors tied to that
        grown = {name for name, _, _ in growing(model, adapter)}
        changed = {t.key for t in self._tensors if t.in_file or t.path in grown}
        self._expected = {t for t in self._tensors if t.key in changed}
        self._keep_originals()

    def _keep_originals(self) -> None:
        config = self._adapter.config
        rewriting = self._adapter.lora_modules() if rewrites_base(config) else set()
        suspects = [t for t in self._tensors if t in self._expected or t.path in rewriting]
        self._depths = depths(self._model, self._stack, {t.path for t in suspects})
        for tensor in self._tensors:
            layer = self._stack.layer_of(tensor.path)
            if layer is None or layer > self._lowest:
                tensor.keep()
        # Some initialisations write in place. Those that nobody has tried may do so, too.
        in_place = bool(rewriting_init(config))
        empty = weightless(self._model)
        for tensor in suspects:
            if self._depths[tensor.path] <= self._lowest and not tensor.in_file:
                continue
            if tensor.now.is_meta and not empty:
                raise AdapterError(
                    f"{self._adapter.path} overwrites {tensor.name}, which is offloaded; load the "
                    "model without offloading to cut this adapter"
                )
            copied = tensor in self._expected or in_place
            tensor.keep(copy=copied and tensor.now.is_floating_point())

    def overwrites(self) -> list[Overwrite]:
        """Return the base tensors that have changed since, or that the adapter's file holds.

        Raises:
            AdapterError: One of them must be restored, but was written to in place.
        """
        others = [t for t in self._tensors if t.content is not None and t not in self._expected]
        contents = _contents(tensor.now for tensor in others)
        rewritten = dict.fromkeys(t for t in others if contents[id(t.now)] != t.content)
        where = self._depths | self._depths_of(rewritten)
        return [
            self._overwrite(tensor, where[tensor.path], rewritten=tensor in rewritten)
            for tensor in self._tensors
            if tensor in self._expected or tensor in rewritten
        ]

    def _depths_of(self, rewritten: Iterable[_Tensor]) -> dict[str, int]:
        """Return the depth of the owners of rewritten tensors.

        A tensor that was rewritten through the LoRA of a module it is tied to has the depth of
        that module.
        """
        own = depths(self._model, self._stack, {tensor.path for tensor in rewritten})
        adapted = (m for m in self._model.modules() if isinstance(m, BaseTunerLayer))
        bases = {module.get_base_layer() for module in adapted}
        causes: dict[int, int] = {}
        for tensor in rewritten:
            if tensor.owner in bases:
                causes[tensor.key] = max(own[tensor.path], causes.get(tensor.key, 0))
        return {
            tensor.path: own[tensor.path]
            if tensor.owner in bases
            else causes.get(tensor.key, own[tensor.path])
            for tensor in rewritten
        }

    def _overwrite(self, tensor: _Tensor, depth: int, *, rewritten: bool) -> Overwrite:
        needed = depth > self._lowest or tensor.in_file
        original = tensor.original() if needed else tensor.now
        if original is None:
            raise AdapterError(
                f"PEFT writes to {tensor.name} of the base model in place when it loads "
                f"{self._adapter.path}, so no boundary below {depth} can be used; give "
                f"boundary={self._stack.count - 1}"
            )
        return Overwrite(
            tensor.name, depth, tensor.owner, original, tensor.now, tensor.in_file, rewritten
        )


def _contents(tensors: Iterable[torch.Tensor]) -> dict[int, _Content | None]:
    """Return what tensors hold, by their ids. Tied tensors are read once."""
    distinct = {id(tensor): tensor for tensor in tensors}
    return {key: None if t.is_meta else _content(t) for key, t in distinct.items()}


def _content(tensor: torch.Tensor) -> _Content:
    return tuple(tensor.shape), tensor.dtype, checksum(tensor)
