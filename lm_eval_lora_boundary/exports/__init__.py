"""Ship a cut: an adapter folder with the kept layers only, or a merged checkpoint."""

from __future__ import annotations

from .api import export

__all__ = ["export"]
