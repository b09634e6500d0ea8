"""Answer the same requests under many boundaries, and have lm-eval score each of them."""

from __future__ import annotations

from .api import sweep

__all__ = ["sweep"]
