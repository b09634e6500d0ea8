"""The rows of quantized base models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantized_models import BACKENDS, Backend, write_quantized
from support_by_hand import Trained
from support_cells import Row


@dataclass(frozen=True)
class Quantized:
    """A way to quantize a base model.

    Attributes:
        title: How the page calls it.
        backend: What does it, which may not be installed.
    """

    title: str
    backend: Backend

    @property
    def about(self) -> str:
        """Its settings, for the page."""
        return self.backend.settings

    def cells(self, folder: Path) -> dict[str, str]:
        """Compute the row; files go into ``folder``."""
        _, base, adapter = write_quantized(folder, self.backend)
        return Row(Trained(base, adapter), folder).cells()


QUANTIZED = tuple(Quantized(*each) for each in BACKENDS.items())
