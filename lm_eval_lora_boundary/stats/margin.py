"""How much of an adapter's gain a cut may lose and still count as keeping it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LoraBoundaryError


@dataclass(frozen=True)
class Margin:
    """A margin of non-inferiority.

    Attributes:
        value: A share of the gain if ``is_share``, else a loss in the unit of the metric; above 0.
        is_share: Whether it is a share of the whole adapter's gain over the base model.
    """

    value: float
    is_share: bool

    @staticmethod
    def read(text: str) -> Margin:
        """Read ``10%`` or ``0.02``.

        Raises:
            LoraBoundaryError: It is neither, or not above 0, or a share of 100 % or more.
        """
        number, is_share = text.strip().removesuffix("%"), text.strip().endswith("%")
        try:
            value = float(number) / (100 if is_share else 1)
        except ValueError:
            value = math.nan
        if not 0 < value < (1 if is_share else math.inf):
            raise LoraBoundaryError(
                f"margin={text}; expected a share of the adapter's gain, such as 10%, or a loss in "
                "the unit of the metric, such as 0.02"
            )
        return Margin(value, is_share)

    def __str__(self) -> str:
        """Return the text that :meth:`read` reads."""
        return f"{100 * self.value:.12g}%" if self.is_share else f"{self.value:.12g}"
