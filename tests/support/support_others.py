"""The rows of adapters that are not LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapter_kinds import SETTINGS, save_kind
from support_by_hand import Trained
from support_cells import Row
from support_reasons import short
from tiny_models import tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.cuts.kinds import KINDS


@dataclass(frozen=True)
class Other:
    """A kind of adapter.

    Attributes:
        peft_type: Its name in PEFT.
    """

    peft_type: str

    @property
    def title(self) -> str:
        """How the page calls it."""
        return KINDS[self.peft_type].name

    @property
    def about(self) -> str:
        """Its settings, for the page."""
        given = SETTINGS[self.peft_type].items()
        return ", ".join(
            [f"`{self.peft_type}`", *(f"{name}: {short(each)}" for name, each in given)]
        )

    def cells(self, folder: Path) -> dict[str, str]:
        """Compute the row; files go into ``folder``."""
        tiny_model().save_pretrained(folder / "base")
        tiny_tokenizer().save_pretrained(folder / "base")
        adapter = save_kind(folder / "adapter", self.peft_type)
        return Row(Trained(folder / "base", adapter), folder).cells()


OTHERS = tuple(Other(name) for name in sorted(SETTINGS) if name != "LORA")
REFUSED = {kind.name: kind.refusal for kind in KINDS.values() if kind.refusal}
