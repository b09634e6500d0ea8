"""Prompts and gold answers of an lm-eval task, as text and as tokens.

lm-eval builds the prompt text and its ``hf`` model tokenises it. This module only joins the two
with the gold answer, so that training and tracing see exactly the prompts of an evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.models.huggingface import HFLM

from ..errors import ModelError, TaskError
from ..upstream.lm_eval import example_format, maybe_delimit, response_prefix

logger = logging.getLogger("lm_eval.lora_boundary")

_CONTENT = "CONTENT"


def require_chat_template(tokenizer: Any, pretrained: str) -> None:
    """Raise a ModelError if a tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {pretrained} has no chat template; leave the template out, or give "
            "a tokenizer that has one with --model-args tokenizer=…"
        )


@dataclass(frozen=True)
class Row:
    """One training row.

    Attributes:
        tokens: ``(seq,)`` int32: prompt, gold answer, and what ends the answer.
        prompt: Number of prompt tokens, which do not count in the loss.
        truncated: Whether the left end of the prompt was cut off.
    """

    tokens: np.ndarray[Any, np.dtype[np.int32]]
    prompt: int
    truncated: bool


class Prompts:
    """The prompts and gold answers of a task, as text and as tokens.

    Attributes:
        ending: Tokens after every answer, so that the model learns to stop.
        num_fewshot: Examples in each prompt.
    """

    def __init__(
        self,
        task: Task,
        model: HFLM,
        *,
        num_fewshot: int | None = None,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        seed: int = 0,
    ) -> None:
        """Set up the task as ``lm_eval`` does with the options of the same names.

        Args:
            task: The task; its few-shot sampling is changed.
            model: lm-eval's model, for its tokenizer.
            num_fewshot: Examples in each prompt; None for the task's own number. As in lm-eval, a
                task whose own number is 0 keeps it.
            system_instruction: System message, or text in front of the prompt.
            apply_chat_template: Use the tokenizer's chat template; examples become turns.
            seed: Seed for drawing examples.

        Raises:
            ModelError: The tokenizer has no chat template, or no token to end an answer with.
        """
        if apply_chat_template:
            require_chat_template(model.tokenizer, model.pretrained)
        self._task = task
        self._model = model
        self._chat = apply_chat_template
        own = task.get_config("num_fewshot")
        if num_fewshot and own == 0:
            logger.warning("the task fixes num_fewshot=0; num_fewshot=%d is ignored", num_fewshot)
        self.num_fewshot: int = own or 0 if num_fewshot is None or own == 0 else num_fewshot
        self._system_instruction = system_instruction
        self.ending = answer_ending(model, chat=apply_chat_template)
        if self.num_fewshot:  # 0.5 draws from the train split only if the task knows that it should
            task.set_config("num_fewshot", self.num_fewshot)
        task.set_fewshot_seed(seed)
        self._examples = _Examples(task) if self.num_fewshot else None

    def context(self, doc: Any) -> str:
        """Return the prompt of a document, exactly as in an evaluation."""
        if self._examples:
            self._examples.document = doc
        context = self._task.fewshot_context(
            doc,
            num_fewshot=self.num_fewshot,
            system_instruction=self._system_instruction,
            apply_chat_template=self._chat,
            fewshot_as_multiturn=self._chat,
            chat_template=self._model.apply_chat_template if self._chat else None,
            gen_prefix=response_prefix(self._task, doc),
        )
        if not isinstance(context, str):
            raise TaskError("the task has several prompts per document; training needs one")
        return context

    def target(self, doc: Any) -> str:
        """Return the gold answer as it follows the prompt, or "" if the document has none.

        It starts with the delimiter that lm-eval puts between the two in few-shot examples.
        """
        answer = self._task.doc_to_target(doc)
        if isinstance(answer, int) and self._task.get_config("doc_to_choice"):
            answer = self._task.doc_to_choice(doc)[answer]
        elif isinstance(answer, (list, tuple)):
            answer = answer[0] if answer else ""
        answer = "" if answer is None else str(answer)
        if not answer.strip():
            return ""
        if prefix := response_prefix(self._task, doc):
            return maybe_delimit(prefix, answer)[len(prefix) :]
        # There is no delimiter after a generation prompt, and tasks in Python add their own.
        if self._chat or not isinstance(self._task, ConfigurableTask):
            return answer
        return f"{self._task.config.target_delimiter}{answer}"

    def row(self, context: str, target: str, max_length: int) -> Row | None:
        """Return the tokens of a prompt and its gold answer, or None if it leaves no room.

        The prompt has the tokens that lm-eval would pass to the model. If it is too long, it is
        cut from the left, as in lm-eval.
        """
        prompt = self._encode(context)
        joint = self._encode(context + target)
        # If the last token of the prompt would merge with the answer, the prompt keeps its tokens.
        if joint[: len(prompt)] == prompt and len(joint) > len(prompt):
            answer = joint[len(prompt) :]
        else:
            answer = self._model.tokenizer.encode(target, add_special_tokens=False)
        if answer[-len(self.ending) :] != self.ending:  # some tokenizers have added it
            answer = answer + self.ending
        room = max_length - len(answer)
        if room < 1:
            return None
        kept = prompt[-room:]
        tokens = np.array(kept + answer, dtype=np.int32)
        return Row(tokens, len(kept), truncated=len(kept) < len(prompt))

    def _encode(self, text: str) -> list[int]:
        tokens, _ = self._model.tok_batch_encode([text])  # (1, length)
        return [int(token) for token in tokens[0]]


class _Examples:
    """Draws few-shot examples for training documents, but never the document itself.

    lm-eval leaves it out only if examples come from the test split.

    Attributes:
        document: The document of the prompt.
    """

    def __init__(self, task: Task) -> None:
        self.document: Any = None
        self._task = task
        self._draw: Callable[[int], Sequence[Any]]
        if isinstance(task, ConfigurableTask):
            self._draw = task.sampler.sample
            task.sampler = self
        else:
            examples = task.fewshot_examples
            self._draw = lambda n: examples(k=n, rnd=task.fewshot_rnd)
            task.fewshot_examples = lambda k, rnd: self.sample(k)

    def sample(self, n: int, **_: Any) -> list[Any]:
        """Return ``n`` examples. lm-eval's further arguments are about test documents."""
        question = self._task.doc_to_text(self.document)
        extra = 1
        while True:
            try:
                drawn = self._draw(n + extra)
                if len(drawn) < n + extra:
                    raise ValueError(f"only {len(drawn)} examples")
            except (ValueError, AssertionError) as error:
                raise TaskError(
                    f"num_fewshot={n}, but the task has too few other documents to draw examples "
                    f"from ({error}); give a smaller --num-fewshot"
                ) from error
            others = [doc for doc in drawn if doc != self.document and self._text(doc) != question]
            if len(others) >= n:
                return others[:n]
            extra *= 2

    def _text(self, example: Any) -> Any:
        if isinstance(self._task, ConfigurableTask):
            return self._task.doc_to_text(example, example_format(self._task).doc_to_text)
        return self._task.doc_to_text(example)


def answer_ending(model: HFLM, *, chat: bool) -> list[int]:
    """Return the tokens that end a gold answer.

    In a chat this is what the template puts after an assistant's message, up to its first special
    token (which need not be the tokenizer's EOS). Otherwise it is the EOS.
    """
    tokenizer = model.tokenizer
    if chat:
        messages = [{"role": role, "content": _CONTENT} for role in ("user", "assistant")]
        text = tokenizer.apply_chat_template(messages, tokenize=False, **model.chat_template_args)
        after = tokenizer.encode(text.rpartition(_CONTENT)[2], add_special_tokens=False)
        special = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}
        for position, token in enumerate(after):
            if token in special:
                return [int(each) for each in after[: position + 1]]
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {model.pretrained} has no EOS token, so the model cannot learn to "
            "stop; give another with --model-args tokenizer=…"
        )
    return [tokenizer.eos_token_id]
