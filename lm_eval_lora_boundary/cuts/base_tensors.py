"""Which base tensors the loading of an adapter changed, and what they were before.

PEFT writes some adapters into the base weights: trained biases, embeddings of a grown vocabulary,
initialisations such as PiSSA that subtract the adapter's initial product, variants such as KaSA
that cut the weights' smallest singular values off. Which of them do so is not looked up anywhere:
every base tensor is compared with what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from ..errors import AdapterError
from .adapter_folder import AdapterFolder
from .base_model import weightless
from .checksums import checksum
from .cut import KEEPS_BASE, rewrites_base
from .layers import DecoderStack, depths
from .modules import Overwrite
from .vocabulary import growing

_Content = tuple[tuple[int, ...], torch.dtype, list[int]]  # shape, type, checksum


@dataclass
class _Tensor:
    """A base tensor before the adapter is loaded.

    Attributes:
        path: Path of its owner.
        owner: The module that owns it.
        attribute: Its name there.
        key: What tied tensors have in common.
        content: What it holds; None on the meta device.
        in_file: Whether the adapter's file holds it.
        expected: Whether it is recorded even if it stays as it is: it is in the file, or tied to
            one that is, or grows.
        kept: The tensor itself, if it may have to be put back.
        values: Its memory then, or a copy.
    """

    path: str
    owner: nn.Module
    attribute: str
    key: int
    content: _Content | None
    in_file: bool = False
    expected: bool = False
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

    def original(self) -> torch.Tensor | None:
        """Return the tensor as it was, or None if nothing holds its values any more."""
        if self.kept is None or self.values is None:
            return None
        if self.content is None:
            return self.kept
        if self.kept is not self.now and _content(self.kept) == self.content:
            return self.kept  # replaced, and whole
        # of a quantised weight, the values alone would not do
        if type(self.kept) not in (nn.Parameter, torch.Tensor):
            return None
        if _content(self.values) != self.content:
            return None  # written to in place
        if isinstance(self.kept, nn.Parameter):
            return nn.Parameter(self.values, requires_grad=False)
        return self.values


class BaseTensors:
    """The tensors of a base model as they are before an adapter is loaded.

    What the loading replaces is kept by a reference to its memory, which costs nothing for all
    the others. Only where it is known to write in place is a copy made.
    """

    def __init__(
        self, model: nn.Module, stack: DecoderStack, adapter: AdapterFolder, lowest: int
    ) -> None:
        """Look at all tensors; changes nothing.

        Args:
            model: The base model.
            stack: Its decoder layers.
            adapter: The adapter that will be loaded.
            lowest: The lowest boundary that will be asked for: above it, originals are kept.

        Raises:
            AdapterError: The adapter overwrites a tensor that is offloaded.
        """
        self._model = model
        self._stack = stack
        self._adapter = adapter
        self._lowest = lowest
        contents: dict[int, _Content | None] = {}
        self._tensors = list(_tensors(model, contents))
        self._mark_expected()
        suspect = adapter.lora_modules() if rewrites_base(adapter.config) else set()
        suspects = [each for each in self._tensors if each.expected or each.path in suspect]
        self._depths = depths(model, stack, {each.path for each in suspects})
        for each in self._tensors:
            layer = stack.layer_of(each.path)
            if layer is None or layer > lowest:
                each.kept, each.values = each.now, each.now.detach()
        # some initialisations write in place, and with them all that nobody has tried
        in_place = adapter.config.init_lora_weights not in KEEPS_BASE
        empty = weightless(model)
        for each in suspects:
            if self._depths[each.path] > lowest or each.in_file:
                self._refuse_offloaded(each, empty=empty)
                each.kept, each.values = each.now, each.now.detach()
                if (each.expected or in_place) and each.now.is_floating_point():
                    each.values = each.values.clone()

    def _mark_expected(self) -> None:
        """Mark what the adapter's file, or its vocabulary, is known to change."""
        adapter = self._adapter
        saved_modules = tuple(adapter.config.modules_to_save or ())
        in_file = {
            name
            for name in adapter.whole_tensors()
            if not any(_names_module(name.rpartition(".")[0], saved) for saved in saved_modules)
        } | adapter.saved_originals()
        grown = {name for name, _, _ in growing(self._model, adapter)}
        for each in self._tensors:
            each.in_file = each.name in in_file
            each.expected = each.in_file or each.path in grown
        # an untied copy of a tied tensor is changed with it
        shared = {each.key for each in self._tensors if each.expected}
        for each in self._tensors:
            each.expected = each.expected or each.key in shared

    def _refuse_offloaded(self, tensor: _Tensor, *, empty: bool) -> None:
        if tensor.now.is_meta and not empty:
            raise AdapterError(
                f"{self._adapter.path} overwrites {tensor.name}, which is offloaded; load the "
                "model without offloading to cut this adapter"
            )

    def overwrites(self) -> list[Overwrite]:
        """Return the base tensors that have been changed since, or that the file holds.

        Raises:
            AdapterError: One of them is needed, and was written to in place.
        """
        known: dict[int, _Content] = {}
        rewritten = []
        for each in self._tensors:
            if each.content is None or each.expected:
                continue
            now = each.now
            if id(now) not in known:
                known[id(now)] = _content(now)
            if known[id(now)] != each.content:
                rewritten.append(each)
        where = self._depths | self._depths_of(rewritten)
        moved = {each.name for each in rewritten}
        return [
            self._overwrite(each, where[each.path], rewritten=each.name in moved)
            for each in self._tensors
            if each.expected or each.name in moved
        ]

    def _depths_of(self, rewritten: list[_Tensor]) -> dict[str, int]:
        """Return the depth of the owners of rewritten tensors.

        A tensor that another module's LoRA has rewritten, since both are tied, goes with it.
        """
        if not rewritten:
            return {}
        own = depths(self._model, self._stack, {each.path for each in rewritten})
        adapted = {
            id(module.get_base_layer())
            for module in self._model.modules()
            if isinstance(module, LoraLayer)
        }
        causes: dict[int, int] = {}
        for each in rewritten:
            if id(each.owner) in adapted:
                causes[each.key] = max(own[each.path], causes.get(each.key, 0))
        return {
            each.path: own[each.path]
            if id(each.owner) in adapted
            else causes.get(each.key, own[each.path])
            for each in rewritten
        }

    def _overwrite(self, tensor: _Tensor, depth: int, *, rewritten: bool) -> Overwrite:
        now = tensor.now
        original: torch.Tensor | None = now
        if depth > self._lowest or tensor.in_file:
            original = tensor.original()
        if original is None:
            raise AdapterError(
                f"PEFT writes to {tensor.name} of the base model in place when it loads "
                f"{self._adapter.path}, so that no boundary below {depth} can be had; give "
                f"boundary={self._stack.count - 1}"
            )
        return Overwrite(tensor.name, depth, tensor.owner, original, now, tensor.in_file, rewritten)


def _tensors(model: nn.Module, contents: dict[int, _Content | None]) -> Iterator[_Tensor]:
    """Yield all tensors of a model, tied ones once for each owner."""
    for path, owner in model.named_modules():
        for attribute, tensor in (
            *owner.named_parameters(recurse=False),
            *owner.named_buffers(recurse=False),
        ):
            if id(tensor) not in contents:
                contents[id(tensor)] = None if tensor.is_meta else _content(tensor)
            yield _Tensor(path, owner, attribute, id(tensor), contents[id(tensor)])


def _content(tensor: torch.Tensor) -> _Content:
    return tuple(tensor.shape), tensor.dtype, checksum(tensor)


def _names_module(path: str, name: str) -> bool:
    """Tell whether PEFT's short name selects the module path, or one of its parents."""
    return any(
        part == name or part.endswith(f".{name}")
        for part in (path.rsplit(".", cut)[0] for cut in range(path.count(".") + 1))
    )
