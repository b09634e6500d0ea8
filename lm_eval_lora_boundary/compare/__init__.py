"""Compare lm-eval results of any model, or sweeps, on the same documents."""

from __future__ import annotations

from .api import compare
from .comparison import Comparison

__all__ = ["Comparison", "compare"]
