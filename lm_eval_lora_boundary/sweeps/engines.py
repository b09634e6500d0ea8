"""Which engine answers which requests, and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from transformers import PreTrainedModel

from ..cuts.keep import Cut
from ..errors import LoraBoundaryError, ModelError
from ..forward.fork import Fork
from ..forward.memory import rows_that_fit
from ..forward.requests import Answers, Generate, Request, Score
from ..harness import processes
from ..harness.endings import ending_difference
from ..harness.sweep_lm import SweepLM
from ..harness.sweep_model import load
from ..vllm.engine import Vllm
from ..vllm.sweep_lm import VllmSweepLM
from .self_check import Trial, try_fork
from .settings import ENGINES, SweepSettings
from .toggle import Toggle

logger = logging.getLogger("lm_eval.lora_boundary")


class Engine(Protocol):
    """Answers batches of requests under several cuts."""

    name: str

    def rows(self, cuts: int) -> int:
        """Return how many rows a request takes in a batch."""

    def passes(self, cuts: Sequence[Cut]) -> int:
        """Return the number of layer passes that a token of a prompt takes under all cuts."""

    def prepare(
        self, requests: Sequence[Request], cuts: Sequence[Cut]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Return a function that answers batches of these requests under these cuts.

        All requests of a batch are of one kind, with the same generation arguments. The function
        returns the answers to each request in the order of the cuts.
        """


class Engines(Protocol):
    """The engines that a run may use.

    Attributes:
        name: The engine for ordinary requests.
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


def load_model(settings: SweepSettings, model: PreTrainedModel | None = None) -> SweepLM:
    """Load the base model (or change a loaded one) and the whole adapter; for vLLM, no weights.

    Raises:
        ModelError: The base model cannot be loaded, or is not a decoder-only model.
        AdapterError: The adapter cannot be used.
    """
    return _place(settings.engine).load(settings, model)


def find_engines(lm: SweepLM, requested: str = "auto") -> Engines:
    """Find out which engines work.

    Raises:
        LoraBoundaryError: There is no such engine.
        ModelError: The requested engine cannot be used with this model and adapter.
    """
    if requested not in ENGINES:
        raise LoraBoundaryError(f"engine={requested!r}; expected one of {', '.join(ENGINES)}")
    return _place(requested).find(lm, requested)


class VllmEngines:
    """vLLM, which answers everything."""

    name = "vllm"
    reason = "requested"

    def __init__(self, lm: VllmSweepLM) -> None:
        """Prepare; vLLM starts with the first request."""
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
        """Stop vLLM and remove the adapter folders that it loaded."""
        self._vllm.close()


class LocalEngines:
    """``fork`` and ``toggle``, which run the model in this process."""

    def __init__(self, lm: SweepLM, requested: str) -> None:
        """Find out which of them works.

        Raises:
            ModelError: ``fork`` was requested and cannot be used with this model and adapter, or
                no engine can.
        """
        self._lm = lm
        self._requested = requested
        self._toggle = Toggle(lm)
        trial = Trial(lm, self._toggle)
        self._fork: Fork | None = None
        self.reason = "requested"
        if requested != "toggle":
            self._fork, self.reason = try_fork(lm, trial)
        self.name = "toggle" if self._fork is None else "fork"
        self._reported: set[str] = set()
        self._endings: dict[tuple[str, ...], str] = {}
        if requested != "toggle" and self.reason:
            self._fall_back(self.reason)

    def rows_that_fit(self, length: int) -> int:
        """Return how many rows of up to ``length`` tokens fit into memory."""
        model = self._lm.model
        return rows_that_fit(model.config, model.dtype, length, self._lm.device, processes.count())

    def engine(self, request: Request) -> Engine:
        """Return the engine that answers a request.

        Raises:
            ModelError: ``fork`` was requested and cannot answer it.
        """
        if self._fork is None:
            return self._toggle
        if isinstance(request, Score):
            return self._fork
        reason = self._ending_difference(request)
        if special := request.special_options + self._lm.unusual_decoding:
            names = ", ".join(special)
            reason = f"these generation arguments are more than greedy decoding: {names}"
        return self._fall_back(reason) if reason else self._fork

    def close(self) -> None:
        """Do nothing: the model does not belong to the engines."""

    def _fall_back(self, reason: str) -> Toggle:
        """Return ``toggle``, or refuse if ``fork`` was requested; report each reason once."""
        if self._requested == "fork":
            raise ModelError(f"engine=fork cannot be used: {reason}; use toggle or auto")
        if reason not in self._reported:
            logger.info("engine toggle, since %s", reason)
            self._reported.add(reason)
        return self._toggle

    def _ending_difference(self, request: Generate) -> str:
        """Return how ``fork`` would end responses unlike ``hf``, or ""."""
        if request.until not in self._endings:
            ending = self._lm.ending(request.until, request.max_new_tokens)
            listed = self._lm.model.generation_config.eos_token_id
            self._endings[request.until] = ending_difference(ending, listed)
        return self._endings[request.until]


def _load_for_vllm(settings: SweepSettings, model: PreTrainedModel | None) -> VllmSweepLM:
    processes.refuse_several("a sweep in vLLM")
    if model is not None or settings.device is not None:
        given = "a loaded model" if model is not None else f"device={settings.device}"
        raise ModelError(
            f"engine=vllm and {given}: vLLM loads the model itself and places it itself; give "
            "only the model's name, and no device"
        )
    return VllmSweepLM(settings)


@dataclass(frozen=True)
class _Place:
    """Where requests are answered.

    Attributes:
        load: Loads the model.
        find: Finds the engines of that model, given the requested one.
    """

    load: Callable[[SweepSettings, PreTrainedModel | None], SweepLM]
    find: Callable[[Any, str], Engines]


_IN_VLLM = _Place(_load_for_vllm, lambda lm, _: VllmEngines(lm))
_IN_THIS_PROCESS = _Place(partial(load, SweepLM), LocalEngines)


def _place(engine: str) -> _Place:
    return _IN_VLLM if engine == "vllm" else _IN_THIS_PROCESS
