"""lm-eval's ``hf`` under ``accelerate launch``, with exactly the results of one process.

lm-eval lets each process build, answer and score its own documents. That changes the few-shot
examples (they are drawn document by document), the batches and the standard errors (resampling
depends on the order of documents), and on CPUs it divides nothing. Here all processes build all
requests and the same batches. Each process answers its share of the batches, and they exchange the
answers. So lm-eval sees one process, as it does under tensor parallelism: there, too, all
processes score and the first one reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ..errors import ModelError
from . import processes

_T = TypeVar("_T")


class _Calls(Generic[_T]):
    """Calls that come in the same order in all processes. Each makes some and learns the rest.

    Attributes:
        known: Whether the results of all calls are known here.
        mine: Whether the last call was made here.
        batch_sizes: Detected batch sizes, in the order of detection.
    """

    def __init__(self) -> None:
        self._number = 0
        self._results: dict[int, _T] = {}
        self.known = self.mine = False
        self.batch_sizes: list[int] = []

    def make(self, call: Callable[[], _T], stand_in: _T) -> _T:
        """Return the result of a call, or the stand-in while the result is not known here."""
        number, self._number = self._number, self._number + 1
        self.mine = processes.is_mine(number)
        if self.known:
            return self._results[number]
        return self._results.setdefault(number, call()) if self.mine else stand_in

    def exchange(self) -> None:
        """Learn the results of all calls; the next call is the first one again."""
        for results in processes.gather(self._results):
            self._results |= results
        self._number, self.known = 0, True


class DataParallelLM(HFLM):  # type: ignore[misc]
    """``hf`` whose batches are divided among the processes of ``accelerate launch``.

    Attributes:
        divides_batches: Whether it divides them; a subclass may be given its share instead.
    """

    divides_batches = True
    rank, world_size = 0, 1  # lm-eval is to divide nothing
    cache_hook: Any
    _calls: _Calls[Any] | None = None  # while lm-eval's loop over batches runs in two passes

    @property
    def divided(self) -> bool:
        """Whether there are other processes to divide batches among."""
        # lm-eval sets the accelerator if it has several processes, but not for tensor parallelism.
        return self.divides_batches and hasattr(self, "accelerator") and processes.count() > 1

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the responses to requests, as ``hf`` does."""
        answer = super().generate_until
        return self._in_two_passes(answer, requests, disable_tqdm, caches_early=True)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the scores of whole texts, as ``hf`` does."""
        answer = super().loglikelihood_rolling
        # A score is a sum over batches, and complete in the second pass only.
        return self._in_two_passes(answer, requests, disable_tqdm, caches_early=False)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the scores of continuations, as ``hf`` does."""
        if self.divided:
            _check_same(requests)
        return list(super().loglikelihood(requests, disable_tqdm or processes.rank() != 0))

    def _in_two_passes(
        self,
        answer: Callable[[list[Instance], bool], list[_T]],
        requests: list[Instance],
        quiet: bool,
        *,
        caches_early: bool,
    ) -> list[_T]:
        """Run lm-eval's loop over batches for this process's share, then for all batches.

        The second pass has all outputs already, and lm-eval treats them as in one process. With
        ``caches_early``, lm-eval caches this process's answers in the first pass already.
        """
        if not self.divided:
            return answer(requests, quiet)
        _check_same(requests)
        hook = self.cache_hook
        self._calls = calls = _Calls[Any]()

        def add_partial(*entry: Any) -> None:
            if caches_early and calls.mine:
                hook.add_partial(*entry)

        try:
            self.cache_hook = SimpleNamespace(add_partial=add_partial)
            answer(requests, quiet or processes.rank() != 0)
            self.cache_hook = hook
            calls.exchange()
            return answer(requests, True)
        finally:
            self.cache_hook, self._calls = hook, None

    def _share_out(self, call: Callable[[], _T], stand_in: _T) -> _T:
        """Make a call of lm-eval's loop here, or take its result from the process that makes it."""
        return call() if self._calls is None else self._calls.make(call, stand_in)

    def _model_generate(self, context: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return prompts of shape ``(batch, seq)`` with their responses, as ``hf`` does."""
        generate: Callable[..., torch.Tensor] = super()._model_generate
        return self._share_out(lambda: generate(context, *args, **kwargs).cpu(), context)

    def _detect_batch_size(self, requests: Sequence[Any] | None = None, pos: int = 0) -> int:
        """Return the largest batch size that works in all processes."""
        if self._calls is not None and self._calls.known:
            return self._calls.batch_sizes.pop(0)
        size = int(super()._detect_batch_size(requests, pos))
        if self.divided:
            size = min(processes.gather(size))
        if self._calls is not None:
            self._calls.batch_sizes.append(size)
        return size

    @property
    def _divides_scoring(self) -> bool:
        """Whether batches of continuations are divided, not the calls that score them."""
        return self.divided and self._calls is None

    def _answers_batch(self, number: int) -> bool:
        return not self._divides_scoring or processes.is_mine(number)

    def _exchange(self, answers: list[_T | None]) -> list[_T]:
        """Return the answers of all processes; None stands for those that were not made here."""
        everywhere = processes.gather(answers) if self._divides_scoring else [answers]
        return [
            next(answer for answer in same if answer is not None)
            for same in zip(*everywhere, strict=True)
        ]


def _check_same(requests: Sequence[Instance]) -> None:
    """Refuse requests that are not the same in all processes."""
    digest = hashlib.sha256(repr([request.args for request in requests]).encode()).hexdigest()
    if len(set(processes.gather(digest))) > 1:
        raise ModelError(
            "the processes were given different requests: the task builds them in another order "
            "every time; set PYTHONHASHSEED=0, or use one process"
        )
