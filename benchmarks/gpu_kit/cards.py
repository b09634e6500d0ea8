"""What a card can do at most: published peaks by name, and what was measured on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from .setting import Setting

# Dense bf16 without sparsity in TFLOP/s, memory in TB/s: the makers' data sheets ("NVIDIA H100
# Tensor Core GPU", "H200 Tensor Core GPU", "A100 Tensor Core GPU", "L40S", "L4", "A10", "Ada GPU
# architecture" for RTX 4090, with fp32 accumulation, "AMD Instinct MI300X"). The first one whose
# words are all in a card's own name counts.
_PUBLISHED = (
    ("H100 NVL", 835.0, 3.94),
    ("H100 PCIe", 756.0, 2.0),
    ("H100", 989.0, 3.35),
    ("H200 NVL", 836.0, 4.8),
    ("H200", 989.0, 4.8),
    ("A100 40GB", 312.0, 1.555),
    ("A100 PCIe", 312.0, 1.935),
    ("A100", 312.0, 2.039),
    ("L40S", 362.0, 0.864),
    ("L4", 121.0, 0.3),
    ("A10", 125.0, 0.6),
    ("RTX 4090", 165.2, 1.008),
    ("MI300X", 1307.0, 5.3),
)


@dataclass(frozen=True)
class Card:
    """Peaks of a card.

    Attributes:
        flops: Floating-point operations per second in bf16.
        bandwidth: Bytes of memory per second.
        source: Where the numbers come from.
    """

    flops: float
    bandwidth: float
    source: str


def published(name: str) -> Card | None:
    """Return the published peaks of a card, if it is in the table."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if "mig" in words:  # a part of a card
        return None
    for part, tera_flops, tera_bytes in _PUBLISHED:
        if words >= set(part.lower().split()):
            return Card(tera_flops * 1e12, tera_bytes * 1e12, f"data sheet of the {part}")
    return None


def measured(setting: Setting) -> Card:
    """Multiply large matrices and copy much memory."""
    size = setting.pick(8192, 128)
    a = torch.randn(size, size, device=setting.device).to(torch.bfloat16)
    product = setting.seconds(lambda: a @ a, 5)
    length = setting.pick(1 << 30, 1 << 16)
    source = torch.zeros(length, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    copy = setting.seconds(lambda: target.copy_(source), 5)
    # a copy reads and writes every byte
    return Card(2 * size**3 / product, 2 * length / copy, "measured here")


def peaks(setting: Setting, own: Card) -> Card:
    """Return the published peaks of this card; for a card that is not in the table, its own."""
    name = torch.cuda.get_device_name(setting.device) if setting.on_gpu else ""
    return published(name) or own
