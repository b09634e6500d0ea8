"""What a run asks for of a user's own rows, and the lm-eval task made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from ...errors import TaskError
from ..prompts import answer_ending, require_chat_template
from ..settings import EvaluationSettings
from ..training_record import read_training
from .lm_eval_task import WITH_TEMPLATE, OwnDataTask, by_split
from .metric import Function, functions
from .rows import TURNS, Row
from .splits import OwnRows, Splits, read_rows, row_id

_ROOM = 2  # tokens of a response for each one of the longest gold answer
_LEAST = 16  # tokens of a response


@dataclass(frozen=True)
class OwnData:
    """The rows of a run.

    Attributes:
        rows: All rows that the user gave.
        splits: Those to use.
        metrics: The functions that score a response, the one to choose by first.
        chat: Whether prompts have a chat template.
        left_out: How many rows the adapter was trained on.
        known: Whether it is known which rows it was trained on.
    """

    rows: OwnRows
    splits: Splits
    metrics: Sequence[Function]
    chat: bool
    left_out: int = 0
    known: bool = True

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.rows.name

    @property
    def facts(self) -> dict[str, Any]:
        """What the files of a run say about the rows."""
        return {
            "path": self.rows.path,
            "sha256": self.rows.sha256,
            "rows": len(self.rows.rows),
            "splits": {split: len(rows) for split, rows in self.splits.items() if rows},
            "left_out": self.left_out,
        }

    def trained_on(self, limit: int | None) -> dict[str, Any]:
        """Return what ``training.json`` says about the rows, so that none is evaluated on later.

        Args:
            limit: How many rows are used; None for all.
        """
        rows = self.splits["train"][:limit]
        return {
            "name": Path(self.rows.path).name,
            "sha256": self.rows.sha256,
            "rows": " ".join(map(row_id, rows)),
        }

    def config(self, lm: HFLM) -> dict[str, Any]:
        """Return the task's configuration, but for where its rows are.

        Args:
            lm: The model, for its tokenizer.

        Raises:
            ModelError: The prompts need a chat template and the tokenizer has none.
        """
        golds = {row.gold for row in self.rows.rows}
        most = max(len(lm.tokenizer.encode(gold, add_special_tokens=False)) for gold in golds)
        used = [split for split, rows in self.splits.items() if rows]
        return {
            "task": self.name,
            "output_type": "generate_until",
            "training_split": "train" if "train" in used else None,
            "validation_split": "validation" if "validation" in used else None,
            # lm-eval wants a split to evaluate on, also for a task that is only trained on
            "test_split": "test" if "test" in used else "train" if used == ["train"] else None,
            "doc_to_text": f"{{{{{TURNS}[-1].content}}}}" if self.rows.are_chats else "prompt",
            "doc_to_target": "target",
            "target_delimiter": "",
            "num_fewshot": 0,
            "generation_kwargs": {
                "until": self._until(lm, golds),
                "max_gen_toks": max(_LEAST, -(-_ROOM * most // 8) * 8),
                "do_sample": False,
            },
            "metadata": {"version": self.rows.sha256[:12], WITH_TEMPLATE: self.chat},
        }

    def _until(self, lm: HFLM, golds: set[str]) -> list[str]:
        """Return the texts that end a response: the end of the turn, or of the line.

        lm-eval adds the end-of-sequence token.
        """
        if self.chat:
            require_chat_template(lm.tokenizer, lm.tokenizer.name_or_path)
            return [lm.tok_decode(answer_ending(lm, chat=True)[-1:], skip_special_tokens=False)]
        return [] if any("\n" in gold for gold in golds) else ["\n"]

    def documents(self) -> list[dict[str, Any]]:
        """Return the rows as documents, each with its split."""
        names = sorted({name for rows in self.splits.values() for row in rows for name in row.more})
        return [
            {"split": split, **_document(row, self.chat), **{n: row.more.get(n) for n in names}}
            for split, rows in self.splits.items()
            for row in rows
        ]


def _document(row: Row, chat: bool) -> dict[str, Any]:
    prompt = {"prompt": row.prompt} if row.prompt is not None else {TURNS: list(row.turns)}
    return {**prompt, "target": row.gold if chat else row.joint + row.gold}


def own_data(settings: EvaluationSettings) -> OwnData | None:
    """Return the user's own rows to evaluate on; None if lm-eval tasks were asked for.

    Rows that the adapter was trained on are left out, as far as that is known.

    Raises:
        TaskError: The rows or the metric cannot be used.
    """
    if settings.data is None:
        return None
    rows = read_rows(settings.data)
    check_prompt(rows, chat=bool(settings.apply_chat_template), system=settings.system_instruction)
    record = read_training(settings.peft, settings.model_args)
    ids = None if record is None else record.row_ids
    splits = rows.to_evaluate(ids or ())
    metrics = functions(settings.own_metric, [row.gold for row in rows.rows])
    candidates = sum(row.split != "train" for row in rows.rows)
    return OwnData(
        rows,
        splits,
        metrics,
        bool(settings.apply_chat_template),
        left_out=candidates - sum(map(len, splits.values())),
        known=ids is not None,
    )


def data_to_train(path: str, *, chat: bool, system_instruction: str | None = None) -> OwnData:
    """Return the user's own rows to train on.

    Raises:
        TaskError: The rows cannot be used.
    """
    rows = read_rows(path)
    check_prompt(rows, chat=chat, system=system_instruction)
    metrics = functions(None, [row.gold for row in rows.rows])
    return OwnData(rows, rows.to_train(), metrics, chat)


def check_prompt(rows: OwnRows, *, chat: bool, system: str | None) -> None:
    """Refuse chats without a chat template, and those with a second system message.

    Raises:
        TaskError: The prompts cannot be made.
    """
    if rows.are_chats and not chat:
        raise TaskError(
            f"data={rows.path} holds chats, whose turns only a chat template can join; leave out "
            "--no-template, or give rows with prompt and response"
        )
    with_system = next((row for row in rows.rows if row.has_system_turn), None)
    if system is not None and with_system is not None:
        raise TaskError(
            f"{with_system.place}: has a system turn of its own, and a system message is given; "
            "leave out --system-instruction"
        )


class OwnTasks:
    """Stands for lm-eval's ``TaskManager``: has the task made from the rows, and those of another.

    Attributes:
        all_tasks: Names of the other tasks.
    """

    def __init__(self, own: OwnData, lm: HFLM, others: Any = None) -> None:
        """Make the task.

        Args:
            own: The rows.
            lm: The model, for its tokenizer.
            others: lm-eval's ``TaskManager``; None if no other tasks are needed.

        Raises:
            TaskError: A system turn would be left out of the prompt.
            ModelError: The prompts need a chat template and the tokenizer has none.
        """
        self._own = own
        self._others = others or TaskManager(include_defaults=False)
        self._config = own.config(lm)
        self._documents = by_split(own.documents())
        _check_system(own, lm)

    def load(self, names: Sequence[str]) -> dict[str, Any]:
        """Return tasks with their data, as lm-eval's ``TaskDict``."""
        if list(names) == [self._own.name]:
            return {"tasks": {self._own.name: self.task()}, "groups": {}, "group_map": {}}
        found: dict[str, Any] = self._others.load(names)
        return found

    def task(self) -> OwnDataTask:
        """Return the task."""
        return OwnDataTask(
            self._config
            | {
                "custom_dataset": lambda **_: self._documents,
                "metric_list": [entry(function) for function in self._own.metrics],
                "generation_kwargs": dict(self._config["generation_kwargs"]),
                "metadata": dict(self._config["metadata"]),
            }
        )

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of lm-eval's ``TaskManager``."""
        return getattr(self._others, name)


def entry(function: Any) -> dict[str, Any]:
    """Return what a task's configuration says about a metric."""
    return {"metric": function, "aggregation": "mean", "higher_is_better": True}


def _check_system(own: OwnData, lm: HFLM) -> None:
    """Refuse chats with a system turn that the chat template does not take.

    lm-eval leaves it out then, and the prompt is not the one that was meant.
    """
    for row in own.rows.rows:
        if not row.has_system_turn:
            continue
        prompt = lm.apply_chat_template(list(row.turns))
        for turn in row.turns:
            if turn["role"] == "system" and turn["content"].strip() not in prompt:
                raise TaskError(
                    f"{row.place}: the chat template of {lm.tokenizer.name_or_path} takes no "
                    "system turn; put its text into the first user turn, as in training"
                )
