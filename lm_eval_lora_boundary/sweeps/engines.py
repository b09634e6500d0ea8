"""Which engine answers which requests, and why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from ..errors import LoraBoundaryError, ModelError
from ..forward.fork import Fork
from ..forward.memory import rows_that_fit
from ..forward.requests import Answers, Generate, Request, Score
from ..harness.endings import ending_difference
from ..harness.sweep_lm import SweepLM
from ..vllm.engine import Vllm
from ..vllm.sweep_lm import VllmSweepLM
from .self_check import Trial, _obstacle, _tried
from .settings import NAMES
from .toggle import Toggle

logger = logging.getLogger("lm_eval.lora_boundary")


class Engine(Protocol):
    """Answers batches of requests under several boundaries.

    Attributes:
        name: Its name.
    """

    name: str

    @property
    def measured(self) -> str | None:
        """Return what was measured on this machine and decides how later batches are computed."""

    def rows(self, boundaries: int) -> int:
        """Return how many rows a request takes in a batch."""

    def start(
        self, requests: Sequence[Request], boundaries: Sequence[int], measured: str | None = None
    ) -> None:
        """Get ready for batches out of these requests, perhaps with what was measured before."""

    def learn(self, answers: Sequence[Answers]) -> None:
        """Take note of the answers to the batch before, whoever gave them."""

    def answer(self, requests: Sequence[Request]) -> list[Answers]:
        """Answer a batch of requests of one kind, and of the same generation arguments."""


class Engines(Protocol):
    """The engines that a run may use.

    Attributes:
        name: The engine of ordinary requests.
        reason: Why it is not ``fork``, or "".
    """

    name: str
    reason: str

    def rows_that_fit(self, length: int) -> int:
        """Return how many rows of up to ``length`` tokens fit into memory."""

    def engine(self, request: Request) -> Engine:
        """Return the engine that answers a request."""

    def close(self) -> None:
        """Free what the engines hold."""


def find_engines(lm: SweepLM, asked: str = "auto") -> Engines:
    """Find out which engines work.

    Args:
        lm: The model.
        asked: ``auto``, ``fork``, ``toggle`` or ``vllm``.

    Raises:
        LoraBoundaryError: No such engine.
        ModelError: The engine that was asked for cannot be used with this model and adapter.
    """
    if asked not in NAMES:
        raise LoraBoundaryError(f"engine={asked!r}; expected one of {', '.join(NAMES)}")
    if isinstance(lm, VllmSweepLM):
        return VllmEngines(lm)
    return LocalEngines(lm, asked)


class VllmEngines:
    """vLLM, which answers everything."""

    name = "vllm"
    reason = "asked for"

    def __init__(self, lm: VllmSweepLM) -> None:
        """Start nothing yet."""
        self._vllm = Vllm(lm)

    def rows_that_fit(self, length: int) -> int:
        """Return how many rows vLLM gets at once; it fits them into memory by itself."""
        del length
        return Vllm.AT_ONCE

    def engine(self, request: Request) -> Engine:
        """Return vLLM."""
        del request
        return self._vllm

    def close(self) -> None:
        """Stop vLLM and remove the cuts it has loaded."""
        self._vllm.close()


class LocalEngines:
    """``fork`` and ``toggle``, which run the model in this process.

    Attributes:
        name: The engine of ordinary requests.
        reason: Why it is not ``fork``, or "".
    """

    def __init__(self, lm: SweepLM, asked: str) -> None:
        """Find out which of them works.

        Args:
            lm: The model.
            asked: ``auto``, ``fork`` or ``toggle``.

        Raises:
            ModelError: ``fork`` cannot be used with this model and adapter, or none of them can.
        """
        self._lm = lm
        self._asked = asked
        self._toggle = Toggle(lm, lm.cut)
        trial = Trial(lm, self._toggle)
        self._fork: Fork | None = None
        self.reason = "asked for" if asked == "toggle" else _obstacle(lm)
        if not self.reason:
            self._fork, self.reason = _tried(lm, trial)
        self._said: set[str] = set()
        self._endings: dict[tuple[str, ...], str] = {}
        if asked == "fork" and self.reason:
            raise ModelError(f"engine=fork cannot be used: {self.reason}; use toggle or auto")
        self.name = "toggle" if self._fork is None else "fork"
        if asked == "auto" and self.reason:
            logger.info("engine toggle, since %s", self.reason)

    def rows_that_fit(self, length: int) -> int:
        """Return how many rows of up to ``length`` tokens fit into memory."""
        model = self._lm.model
        return rows_that_fit(model.config, model.dtype, length, self._lm.device)

    def close(self) -> None:
        """Hold on to the model, which is not the engines'."""

    def engine(self, request: Request) -> Engine:
        """Return the engine that answers a request.

        Raises:
            ModelError: ``fork`` was asked for and cannot answer it.
        """
        if self._fork is None:
            return self._toggle
        if isinstance(request, Score):
            return self._fork
        special = request.special_options + self._lm.unusual_decoding
        reason = self._ending_trial(request)
        if special:
            names = ", ".join(special)
            reason = f"these generation arguments are more than greedy decoding: {names}"
        if not reason:
            return self._fork
        if self._asked == "fork":
            raise ModelError(f"engine=fork cannot be used: {reason}; use toggle or auto")
        if reason not in self._said:
            logger.info("engine toggle, since %s", reason)
            self._said.add(reason)
        return self._toggle

    def _ending_trial(self, request: Generate) -> str:
        """Return how ``fork`` would end responses otherwise than ``hf``, or ""."""
        if request.until not in self._endings:
            ending = self._lm.ending(request.until, request.max_new_tokens)
            listed = self._lm.model.generation_config.eos_token_id
            self._endings[request.until] = ending_difference(ending, listed)
        return self._endings[request.until]
