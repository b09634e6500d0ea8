"""What a sweep is asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AdapterError, LoraBoundaryError, ModelError
from ..harness.tasks import SPLITS

NAMES = ("auto", "fork", "toggle", "vllm")

_RESERVED = {
    *("pretrained", "peft", "delta", "boundary", "merge", "batch_size", "dtype", "device"),
    *("enable_lora", "lora_local_path"),
}

CANDIDATES = ("all", "trace")


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """Everything that decides what a sweep produces.

    Attributes:
        pretrained: Base model: hub id or local folder.
        peft: LoRA adapter: hub id or local folder.
        tasks: Names of lm-eval tasks, groups or tags, patterns, or YAML files.
        boundaries: ``all``, ranges such as ``0-29``, or a list such as ``10,20``; base model and
            whole adapter are always scored, too.
        candidates: ``all`` of these boundaries, or ``trace``: those around the one that a trace
            suggests.
        window: Those, once the trace has been run; None for all.
        split: ``validation`` or ``test``; None for the first of them that a task has.
        metric: What to choose by: a metric, or ``metric,filter``. None: the first of each task.
        limit: Use the first so many documents of each task, or this share of them below 1.
        batch_size: Rows (documents × boundaries) in a batch; None for what memory allows.
        dtype: Precision of the model, as for lm-eval's ``hf``.
        device: As torch calls it; None for the best there is.
        engine: ``auto``, ``fork``, ``toggle`` or ``vllm``.
        race: Drop boundaries that are statistically out before all documents are answered.
        error_rate: How often the race may drop the boundary that would have won.
        confirm: After choosing on the validation split, run the choice, the whole adapter and the
            base model on the test split.
        save: Write the best boundary into the adapter folder, for ``boundary=auto``; the whole
            adapter if the test split refutes it.
        model_args: Further arguments of lm-eval's ``hf``: revision, gguf_file, ….
        include_path: Folder with further tasks.
        num_fewshot: Examples in each prompt; None for what the task says.
        apply_chat_template: Use the tokenizer's chat template, or the one of this name.
        fewshot_as_multiturn: Examples become turns of a chat.
        system_instruction: System message, or text in front of the prompt.
        gen_kwargs: Generation arguments that override those of the tasks.
        bootstrap_iters: Draws for standard errors that need them.
        confirm_run_unsafe_code: Evaluate tasks that run what the model wrote.
    """

    pretrained: str
    peft: str
    tasks: tuple[str, ...]
    boundaries: str = "all"
    candidates: str = "all"
    window: str | None = None
    split: str | None = None
    metric: str | None = None
    limit: float | None = None
    batch_size: int | None = None
    dtype: str = "auto"
    device: str | None = None
    engine: str = "auto"
    race: bool = False
    error_rate: float = 0.2
    confirm: bool = True
    save: bool = False
    model_args: Mapping[str, Any] = field(default_factory=dict)
    include_path: str | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    bootstrap_iters: int = 1000
    confirm_run_unsafe_code: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no sweep can have."""
        limit = self.limit
        few = self.num_fewshot
        whole = limit is None or limit < 1 or float(limit).is_integer()
        rules = [
            ("tasks", bool(self.tasks) and all(self.tasks), "at least one name"),
            ("split", self.split in (None, *SPLITS), " or ".join(SPLITS)),
            ("candidates", self.candidates in CANDIDATES, " or ".join(CANDIDATES)),
            ("limit", limit is None or (limit > 0 and whole), "a number of documents, or a share"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1 row"),
            ("engine", self.engine in NAMES, ", ".join(NAMES)),
            ("num_fewshot", few is None or few >= 0, "at least 0"),
            ("error_rate", 0 < self.error_rate < 1, "between 0 and 1"),
            ("bootstrap_iters", self.bootstrap_iters >= 0, "at least 0"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise LoraBoundaryError(f"{name}={getattr(self, name)!r}; expected {expected}")
        if self.candidates == "trace" and self.boundaries.strip() != "all":
            raise LoraBoundaryError(
                f"candidates=trace chooses the boundaries, and boundaries={self.boundaries} was "
                "given; leave out one of them"
            )
        if self.save and not Path(self.peft).expanduser().is_dir():
            raise AdapterError(f"--save needs an adapter in a local folder; peft={self.peft}")
        if reserved := _RESERVED & set(self.model_args):
            names = ", ".join(sorted(reserved))
            raise ModelError(f"model_args sets {names}, which a sweep sets itself")

    @property
    def documents(self) -> int | float | None:
        """The limit as lm-eval takes it."""
        return int(self.limit) if self.limit is not None and self.limit >= 1 else self.limit

    @property
    def multiturn(self) -> bool:
        """Whether examples become turns; by default they do in a chat, as in lm-eval."""
        asked = self.fewshot_as_multiturn
        return bool(self.apply_chat_template) if asked is None else asked

    @property
    def model(self) -> str:
        """``--model`` of a separate run."""
        return "lora_boundary_vllm" if self.engine == "vllm" else "lora_boundary"

    def model_arguments(self) -> dict[str, Any]:
        """Return ``--model_args`` of a separate run, without the boundary."""
        named = {"pretrained": self.pretrained, "peft": self.peft, "dtype": self.dtype}
        return named | dict(self.model_args)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as ``sweep.json`` holds them."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return settings
