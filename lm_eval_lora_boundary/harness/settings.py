"""The model, the tasks and the prompts of a sweep or a trace; this imports no library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..cuts.paths import check_adapter_path, check_base_path
from ..errors import LoraBoundaryError, ModelError, OutputError, TaskError
from .key_values import CUT_ARGUMENTS

SPLITS = ("validation", "test")
_RESERVED = CUT_ARGUMENTS | {"batch_size", "dtype", "device", "enable_lora", "lora_local_path"}
_LIMITS = "a whole number of documents above 0, or a share between 0 and 1"
_ONE = "either tasks (at least one name) or data"
Rule = tuple[str, bool, str]  # name of a setting, whether its value is allowed, what is allowed


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The model, the tasks and the prompts; the base of sweep and trace settings.

    Attributes:
        pretrained: Base model: hub id or local folder; empty until the adapter has named it.
        peft: Adapter: hub id or local folder.
        tasks: Names of lm-eval tasks, groups or tags, patterns, or YAML files.
        data: A file or folder with the user's own rows, in place of tasks.
        no_texts: Write no prompts and answers into the files of the run.
        split: ``validation`` or ``test``; None for the first of them that a task has.
        limit: Use only the first documents of each task: a number, or a share below 1.
        batch_size: Rows in a batch; None for as many as fit into memory.
        dtype: Precision of the model, as for lm-eval's ``hf``.
        device: A torch device; None for the best one available.
        model_args: Further arguments of lm-eval's ``hf``: revision, gguf_file, ….
        include_path: Folder with further tasks.
        num_fewshot: Few-shot examples in each prompt; None for the task's own number.
        apply_chat_template: Use the tokenizer's chat template, or the template of this name.
        no_template: Whether the user left out the chat template that the adapter was trained with.
        fewshot_as_multiturn: Make the few-shot examples turns of a chat.
        system_instruction: System message, or text in front of the prompt.
    """

    pretrained: str
    peft: str
    tasks: tuple[str, ...] = ()
    data: str | None = None
    no_texts: bool = False
    split: str | None = None
    limit: float | None = None
    batch_size: int | None = None
    dtype: str = "auto"
    device: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    include_path: str | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool | str = False
    no_template: bool = False
    fewshot_as_multiturn: bool | None = None
    system_instruction: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for name, allowed, expected in self._rules():
            if not allowed:
                raise LoraBoundaryError(
                    f"{name}={_shown(getattr(self, name))} cannot be used; expected {expected}"
                )
        if reserved := _RESERVED & set(self.model_args):
            names = ", ".join(sorted(reserved))
            raise ModelError(f"model_args sets {names}, which the command sets itself")

    def _rules(self) -> list[Rule]:
        limit, few = self.limit, self.num_fewshot
        whole = limit is None or limit < 1 or float(limit).is_integer()
        return [
            ("tasks", self.data is not None or (bool(self.tasks) and all(self.tasks)), _ONE),
            ("data", self.data is None or not self.tasks, _ONE),
            ("split", self.split in (None, *SPLITS), " or ".join(SPLITS)),
            ("limit", limit is None or (limit > 0 and whole), _LIMITS),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1 row"),
            ("num_fewshot", few is None or few >= 0, "at least 0"),
            ("num_fewshot", self.data is None or not few, "0, since rows hold their whole prompts"),
        ]

    def check_paths(self, output: Path, *, has_arguments: bool) -> None:
        """Refuse paths that cannot be used, before anything is loaded.

        Args:
            output: The folder to write.
            has_arguments: Whether further model arguments will follow.

        Raises:
            LoraBoundaryError: A path cannot be used; the subclass tells which kind.
        """
        check_adapter_path(self.peft)
        if self.pretrained:
            check_base_path(self.pretrained, has_arguments=has_arguments)
        check_include_path(self.include_path)
        check_output(output)

    @property
    def own_metric(self) -> str | None:
        """The metric for the user's own rows; None for the one that suits them."""
        return None

    @property
    def documents(self) -> int | float | None:
        """The limit as lm-eval takes it."""
        return int(self.limit) if self.limit is not None and self.limit >= 1 else self.limit

    @property
    def multiturn(self) -> bool:
        """Whether few-shot examples become turns; by default in a chat, as in lm-eval."""
        chosen = self.fewshot_as_multiturn
        return bool(self.apply_chat_template) if chosen is None else chosen

    @property
    def model(self) -> str:
        """``--model`` of the same evaluation under ``lm_eval``."""
        return "lora_boundary"

    @property
    def generation(self) -> dict[str, Any]:
        """Generation arguments that override those of the tasks."""
        return {}

    def evaluation_options(self) -> dict[str, Any]:
        """Return how ``lm_eval.evaluate`` is to build prompts and treat responses."""
        return {
            "system_instruction": self.system_instruction,
            "apply_chat_template": self.apply_chat_template,
            "fewshot_as_multiturn": self.multiturn,
        }

    def model_arguments(self) -> dict[str, Any]:
        """Return ``--model_args`` of the same evaluation in ``lm_eval``, except the boundary."""
        named = {"pretrained": self.pretrained, "peft": self.peft, "dtype": self.dtype}
        return named | dict(self.model_args)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as ``sweep.json`` and ``trace.json`` hold them, sorted by name."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str, sort_keys=True))
        return settings


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def check_include_path(folder: str | None) -> None:
    """Refuse a folder with tasks that does not exist.

    Raises:
        TaskError: It does not.
    """
    if folder is not None and not Path(folder).is_dir():
        raise TaskError(f"include_path={folder} is not a folder")


def check_output(folder: Path) -> None:
    """Refuse an output folder that is a file.

    Raises:
        OutputError: It is one.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output={folder} is a file; expected a folder, or a new name")


def as_names(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """Return names, such as those of tasks, that were given as a list or as text with commas."""
    parts = tasks.split(",") if isinstance(tasks, str) else tasks
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def output_folder(given: str | Path | None) -> Path:
    """Return the folder to write.

    Raises:
        OutputError: None was given.
    """
    if given is None:
        raise OutputError("output is not given; expected the folder to write")
    return Path(given).expanduser()
