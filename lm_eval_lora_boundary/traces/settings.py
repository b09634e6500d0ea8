"""What a trace is asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..cuts.boundaries import parse_boundaries
from ..errors import LoraBoundaryError
from ..sweeps.settings import SweepSettings

FULL = "full"
BASE = "base"
_OWN = ("boundaries", "document")  # the other settings mean what they mean in a sweep


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """Everything that decides what a trace produces.

    Attributes:
        pretrained: Base model: hub id or local folder.
        peft: LoRA adapter: hub id or local folder.
        tasks: Names of lm-eval tasks, groups or tags, patterns, or YAML files.
        boundaries: Cuts to trace beside the full adapter and the base model: ranges such as
            ``5-9``, a list such as ``10,20``, ``all``, or nothing.
        split: ``validation`` or ``test``; None for what lm-eval evaluates.
        limit: Use the first so many documents of each task, or this share of them below 1.
        batch_size: Documents in a batch; None for a few, fewer where memory runs out.
        dtype: Precision of the model, as for lm-eval's ``hf``.
        device: As torch calls it; None for the best there is.
        document: Document to draw the heatmap of; None for the one with the median probability.
        model_args: Further arguments of lm-eval's ``hf``: revision, gguf_file, ….
        include_path: Folder with further tasks.
        num_fewshot: Examples in each prompt; None for what the task says.
        apply_chat_template: Use the tokenizer's chat template, or the one of this name.
        fewshot_as_multiturn: Examples become turns of a chat.
        system_instruction: System message, or text in front of the prompt.
    """

    pretrained: str
    peft: str
    tasks: tuple[str, ...]
    boundaries: str = ""
    split: str | None = None
    limit: float | None = None
    batch_size: int | None = None
    dtype: str = "auto"
    device: str | None = None
    document: int | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    include_path: str | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that no trace can have."""
        self.prompting()
        if self.document is not None and self.document < 0:
            raise LoraBoundaryError(f"document={self.document}; expected a doc_id, at least 0")

    def prompting(self) -> SweepSettings:
        """Return the settings of a sweep with the same model and the same prompts.

        Raises:
            LoraBoundaryError: A value is out of range.
        """
        shared = {name: value for name, value in vars(self).items() if name not in _OWN}
        # a trace generates nothing, so that no code of the model's can run
        return SweepSettings(**shared, confirm_run_unsafe_code=True)

    def models(self, layers: int) -> dict[str, int]:
        """Return the boundaries to trace by name: full adapter, base model, cuts.

        Args:
            layers: Number of decoder layers, N.

        Raises:
            BoundaryError: A boundary is none of ``-1..N-1``.
        """
        models = {FULL: layers - 1, BASE: -1}
        asked = parse_boundaries(self.boundaries, layers) if self.boundaries.strip() else []
        # the outermost boundaries are the two above
        return models | {f"boundary={k}": k for k in asked if k not in models.values()}

    def as_json(self) -> dict[str, Any]:
        """Return the settings as ``trace.json`` holds them."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return settings
