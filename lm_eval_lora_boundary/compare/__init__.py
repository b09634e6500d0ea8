"""Leaderboards and paired tests over lm-eval results of any model, or over sweeps.

Knows: lm-eval's result files and aggregation functions, and the stats room.
Must not know: torch, reports, adapter folders.
"""

from __future__ import annotations

from .api import compare
from .comparison import Comparison

__all__ = ["Comparison", "compare"]
