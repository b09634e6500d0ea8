"""The sections by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from .bases import attention, placement, quantized
from .evaluation import evaluation
from .exactness import exactness
from .families import families
from .memory import memory
from .passes import passes
from .precision import precision
from .rows import Row
from .setting import Setting
from .sweep import sweep
from .waiting import waiting

SECTIONS: dict[str, Callable[[Setting], list[Row]]] = {
    "exactness": exactness,
    "precision": precision,
    "attention": attention,
    "quantized": quantized,
    "placement": placement,
    "evaluation": evaluation,
    "sweep": sweep,
    "passes": passes,
    "families": families,
    "memory": memory,
    "waiting": waiting,
}
