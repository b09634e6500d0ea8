"""What a sweep found, for reading: plots and one self-contained page."""

from __future__ import annotations

from .write import write_report

__all__ = ["write_report"]
