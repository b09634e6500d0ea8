"""A device that a CPU pretends to be: it computes, but its tensors are not on the host.

It refuses operations on tensors of different devices more strictly than a GPU, which would copy
small indices by itself, and wait. It counts how often the host copies something to the device or
needs a value from it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

# torch knows this type of device without a driver, and nothing else uses it
GPU = torch.device("lazy")
_CPU = torch.device("cpu")
_NEEDS_VALUES = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}


class There(torch.Tensor):
    """A tensor on the pretended device; its content is an ordinary tensor."""

    content: torch.Tensor

    @staticmethod
    def __new__(cls, content: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            content.size(),
            strides=content.stride(),
            storage_offset=content.storage_offset(),
            dtype=content.dtype,
            device=GPU,
        )
        made.content = content
        return made

    def __repr__(self, *_: Any, **__: Any) -> str:  # without a look at the content
        return f"There({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on the device, but outside of PretendedGpu")


class PretendedGpu(TorchDispatchMode):
    """Within it, ``GPU`` is a device.

    Attributes:
        counts: How often tensors were copied ``to`` the device and ``from`` it, and how often the
            host needed a ``value``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def move(self, module: torch.nn.Module) -> None:
        """Move a module to the device."""
        for each in module.modules():
            for tensors in (each._parameters, each._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = There(tensor.detach())  # type: ignore[assignment]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
        devices = {each.device for each in given if each.ndim}
        wanted = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default:
            if wanted is not None and torch.device(wanted) not in devices and devices:
                self.counts["to" if torch.device(wanted) == GPU else "from"] += 1
        elif len(devices) > 1:
            raise RuntimeError(f"{func}: tensors on {' and '.join(sorted(map(str, devices)))}")
        on_gpu = GPU in devices or any(isinstance(each, There) for each in given)
        if on_gpu and func in _NEEDS_VALUES:
            self.counts["value"] += 1
        target = torch.device(wanted) if wanted is not None else GPU if on_gpu else _CPU
        if wanted is not None:
            kwargs["device"] = _CPU
        known = {id(each.content): each for each in given if isinstance(each, There)}

        def inside(each: Any) -> Any:
            return each.content if isinstance(each, There) else each

        def outside(each: Any) -> Any:
            if not isinstance(each, torch.Tensor) or target != GPU:
                return each
            return known.get(id(each)) if id(each) in known else There(each)

        return tree_map(outside, func(*tree_map(inside, args), **tree_map(inside, kwargs)))
