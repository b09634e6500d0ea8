"""Prompt and gold answer of every document of a task, as tokens."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task

from ..errors import TaskError
from ..harness.prompts import Prompts
from ..upstream.lm_eval import handle_non_serializable, hash_string, named_choice
from .lm import TraceLM

logger = logging.getLogger("lm_eval.lora_boundary")

EMPTY = "empty gold"
LONG = "gold longer than the context"
_ANY_LENGTH = 1 << 30


@dataclass(frozen=True)
class Gold:
    """A prompt and its gold answer.

    Attributes:
        doc_id: Number of the document, as in lm-eval's samples.
        doc_hash: Hash of the document, as in lm-eval's samples.
        context: Prompt tokens, at least one.
        answer: Gold tokens, at least one.
    """

    doc_id: int
    doc_hash: str
    context: list[int]
    answer: list[int]


@dataclass(frozen=True)
class GoldAnswers:
    """The documents of a task that can be traced, and the number of others.

    Attributes:
        documents: In the task's order.
        skipped: How many are left out, by reason.
        truncated: How many prompts lose their left end, as they do in ``hf``.
    """

    documents: list[Gold]
    skipped: dict[str, int]
    truncated: int


def refuse_perplexity(name: str, task: Task) -> None:
    """Raise a TaskError if a task scores whole texts."""
    if getattr(task, "OUTPUT_TYPE", None) == "loglikelihood_rolling":
        raise TaskError(
            f"task {name} measures perplexity: its texts have no prompt and no gold answer to "
            "trace; give a task that generates text or scores choices"
        )


def gold_answers(lm: TraceLM, name: str, task: Task, *, chat: bool) -> GoldAnswers:
    """Return the gold answers of the documents for which lm-eval has built requests.

    Raises:
        TaskError: The task has no gold answers.
    """
    requests: dict[int, list[Instance]] = {}
    for instance in task.instances:
        requests.setdefault(instance.doc_id, []).append(instance)
    finder = _GoldFinder(lm, name, task, chat=chat)
    skipped = Counter({EMPTY: 0, LONG: 0})
    documents, truncated = [], 0
    for doc_id, instances in requests.items():
        context, answer = finder.tokens(instances)
        # The last token is never an input.
        room = lm.max_length + 1 - len(answer)
        if not answer or room < 1:
            skipped[LONG if answer else EMPTY] += 1
            continue
        truncated += len(context) > room
        documents.append(Gold(doc_id, _hash(instances[0].doc), context[-room:], answer))
    _report(name, documents, skipped, truncated, lm.max_length)
    return GoldAnswers(documents, dict(skipped), truncated)


def _report(
    name: str, documents: list[Gold], skipped: Counter[str], truncated: int, max_length: int
) -> None:
    """Log which documents are left out; refuse a task if none remains."""
    reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.items() if count)
    if not documents:
        raise TaskError(
            f"task {name}: no document can be traced ({reasons or 'there are none'}; "
            f"max_length={max_length}); expected documents with a gold answer that fits"
        )
    if reasons:
        logger.warning("%s: left out %s; %d are traced", name, reasons, len(documents))
    if truncated:
        logger.warning(
            "%s: %d prompts are longer than max_length=%d and lose their left end",
            *(name, truncated, max_length),
        )


def _hash(doc: Any) -> str:
    """Return the hash that lm-eval's samples file has for a document."""
    text = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    digest: str = hash_string(text)
    return digest


class _GoldFinder:
    """Finds the prompt and the gold answer in the requests of a document."""

    def __init__(self, lm: TraceLM, name: str, task: Task, *, chat: bool) -> None:
        self._lm = lm
        self._name = name
        self._task = task
        # The requests are built already, so few-shot examples do not matter here.
        self._prompts = Prompts(task, lm, num_fewshot=0, apply_chat_template=chat)

    def tokens(self, instances: list[Instance]) -> tuple[list[int], list[int]]:
        """Return the prompt's tokens, at least one, and the gold tokens, none without an answer."""
        first = instances[0]
        if first.request_type == "generate_until":
            return self._generated(first.args[0], self._prompts.target(first.doc))
        if first.request_type != "loglikelihood":
            refuse_perplexity(self._name, self._task)
            raise TaskError(
                f"task {self._name} makes {first.request_type} requests; a trace needs a task "
                "that generates text or scores choices"
            )
        chosen: Instance | None = first
        if len(instances) > 1:
            continuations = [instance.args[1] for instance in instances]
            number = gold_choice(self._task, first.doc, continuations)
            chosen = next((each for each in instances if each.idx == number), None)
        if chosen is None or not chosen.args[1].strip():
            return [], []
        return self._lm.pair(*chosen.args)

    def _generated(self, prompt: str, target: str) -> tuple[list[int], list[int]]:
        """Return the prompt as before generation, and the target as in training."""
        if not target:
            return [], []
        row = self._prompts.row(prompt, target, _ANY_LENGTH)
        assert row is not None
        tokens: list[int] = row.tokens.tolist()
        end = len(tokens) - len(self._prompts.ending)
        return tokens[: row.prompt] or [self._lm.prefix_token_id], tokens[row.prompt : end]


def gold_choice(task: Task, doc: Any, continuations: list[str]) -> int | None:
    """Return the index of the gold choice, or None where lm-eval has no valid one.

    Args:
        task: A task that scores choices; if several are right, the first counts.
        doc: The document.
        continuations: The continuations that it scores.
    """
    gold, choices = named_choice(task, doc)
    if choices is None:  # the gold choice is a continuation
        gold = str(gold).strip()
        choices = [continuation.strip() for continuation in continuations]
    if isinstance(gold, (list, tuple)):
        gold = gold[0] if gold else None
    if isinstance(gold, str):
        return choices.index(gold) if gold in choices else None
    if gold is None or not 0 <= int(gold) < len(choices):
        return None
    return int(gold)
