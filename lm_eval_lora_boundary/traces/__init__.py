"""Read the probability of the gold answer at every layer, and look for where it rises."""

from __future__ import annotations

from .api import trace

__all__ = ["trace"]
