"""Leaderboards and paired tests of lm-eval results of any model, or of sweeps.

Knows: lm-eval's result files and aggregation functions, and the stats room.
Must not know: torch, reports, or the folder of an adapter.
"""

from __future__ import annotations

from .api import compare
from .comparison import Comparison

__all__ = ["Comparison", "compare"]
