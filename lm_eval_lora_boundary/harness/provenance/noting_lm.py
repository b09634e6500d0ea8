"""An lm-eval model with an adapter that notes what does not fit the adapter's training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from lm_eval.api.instance import Instance

from ...upstream.lm_eval import rolling_text
from .. import processes
from ..model_args import AskedCut
from ..own_data.rows import TURNS
from .facts import LM_EVAL, Asked, InUse, Spelling, Trained
from .folder import template_of, token, trained
from .in_use import FIRST, stops
from .notes import Found, Note, notes

# lm-eval's command line shows only loggers below "lm_eval".
logger = logging.getLogger("lm_eval.lora_boundary")


class NotingLM:
    """Sees the requests before they are answered, and prints notes, each once.

    What prompts look like is known only then. lm-eval reads ``tokenizer_name`` only if prompts
    are to have a chat template, also where it takes the prompts from a cache.

    Attributes:
        spelling: How the command line that runs this model spells its options.
        prints_notes: Whether notes are printed; else they only go to the files.
        quotes_prompts: Whether notes may quote a prompt.
        generates: Whether responses are generated for requests that ask for it.
    """

    spelling: ClassVar[Spelling] = LM_EVAL
    generates: ClassVar[bool] = True
    prints_notes = True
    quotes_prompts = True
    tokenizer: Any
    _asked: AskedCut
    _trusts_remote_code = False
    _requested = Asked()
    _printed: tuple[Note, ...] = ()
    _kinds_seen: frozenset[str] = frozenset()

    # --- what a model says about itself

    def _in_use(self) -> InUse:
        """Return the facts about the base model."""
        raise NotImplementedError

    def _prompt_tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt to continue."""
        raise NotImplementedError

    def _end_tokens(self) -> Sequence[int] | None:
        """Return the model's own tokens that end a response; None if they are not known."""
        raise NotImplementedError

    # --- notes

    @property
    def notes(self) -> list[Note]:
        """The notes so far, in a fixed order; none without an adapter."""
        if self._asked.adapter is None:
            return []
        found = notes(Found(self._trained, self._facts_in_use, self._requested, self.spelling))
        return [note for note in found if self.quotes_prompts or note["kind"] != "prompt"]

    def see(self, requests: Sequence[Instance]) -> None:
        """Look at requests before they are answered; print what is new."""
        if self._asked.adapter is None or not requests or processes.rank() != 0:
            return
        kind = requests[0].request_type
        if kind in self._kinds_seen:
            return
        self._kinds_seen |= {kind}
        asked = self._requested
        if not asked.start:
            first = self._first_tokens(requests[0])[:FIRST]
            asked = replace(asked, start=tuple(token(each, self.tokenizer) for each in first))
            asked = replace(asked, from_chats=TURNS in (requests[0].doc or {}))
        if kind == "generate_until" and self.generates:
            end = self._end_tokens()
            known = () if end is None else stops(requests, end, self.tokenizer)
            asked = replace(asked, stops=tuple(known))
        self._requested = asked
        for note in self.notes:
            if note not in self._printed and self.prints_notes:
                logger.info("note: %s", note["text"])
                self._printed += (note,)

    @cached_property
    def _trained(self) -> Trained:
        arguments = getattr(self, "chat_template_args", {})
        trust = self._trusts_remote_code
        return trained(self._asked, self.tokenizer, arguments, trust_remote_code=trust)

    @cached_property
    def _facts_in_use(self) -> InUse:
        arguments = getattr(self, "chat_template_args", {})
        template = template_of(self.tokenizer, arguments)
        return replace(self._in_use(), template=template, bos=self.tokenizer.bos_token_id)

    def _first_tokens(self, request: Instance) -> list[int]:
        """Return the tokens that the model reads first."""
        lm: Any = self
        rolled = request.request_type == "loglikelihood_rolling"
        text = rolling_text(request) if rolled else request.args[0]
        # what does not fit is cut from the left
        if request.request_type == "generate_until":
            room = lm.max_length - request.args[1].get("max_gen_toks", lm.max_gen_toks)
            return self._prompt_tokens(text)[-max(0, room) :]
        if request.request_type == "loglikelihood" and text:
            context, continuation = lm._encode_pair(text, request.args[1])
            return list(context[-max(1, lm.max_length + 1 - len(continuation)) :])
        before = [lm.prefix_token_id]  # lm-eval puts it before a text without a context
        return before + list(lm.tok_encode(text)) if text else before

    # --- what lm-eval calls

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, which lm-eval reads if prompts have a chat template."""
        self._requested = replace(self._requested, chat=True)
        name: str = super().tokenizer_name  # type: ignore[misc]
        return name

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
        """Return a chat as text."""
        self._requested = replace(self._requested, chat=True)
        text: str = super().apply_chat_template(*args, **kwargs)  # type: ignore[misc]
        return text

    def generate_until(self, requests: list[Instance], *args: Any, **kwargs: Any) -> list[str]:
        """Return the responses to requests."""
        self.see(requests)
        responses: list[str] = super().generate_until(requests, *args, **kwargs)  # type: ignore[misc]
        return responses

    def loglikelihood(
        self, requests: list[Instance], *args: Any, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Return the scores of continuations."""
        self.see(requests)
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, *args, **kwargs)  # type: ignore[misc]
        return scores

    def loglikelihood_rolling(
        self, requests: list[Instance], *args: Any, **kwargs: Any
    ) -> list[float]:
        """Return the scores of whole texts."""
        self.see(requests)
        scores: list[float] = super().loglikelihood_rolling(requests, *args, **kwargs)  # type: ignore[misc]
        return scores
