"""lm-eval's ``hf`` under ``accelerate launch``, with exactly the results of one process.

lm-eval lets every process build, answer and score documents of its own. That gives other few-shot
examples (they are drawn one document after the other), other batches, other standard errors
(resampling knows the order of documents) and, on CPUs, no division at all. Here all processes
build all requests and make the same batches, every so many-th batch is answered by each, and the
answers are exchanged. So lm-eval sees one process, as it does under tensor parallelism: there,
too, all processes score, and the first one reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ..errors import ModelError
from . import processes

_T = TypeVar("_T")


class _Calls(Generic[_T]):
    """Calls that come in the same order in all processes: each makes some, and learns the rest.

    Attributes:
        known: Whether it has learnt the rest.
        mine: Whether the last call was made here.
    """

    def __init__(self) -> None:
        self._number = 0
        self._made: dict[int, _T] = {}
        self.known = False
        self.mine = False

    def make(self, call: Callable[[], _T], instead: Callable[[], _T]) -> _T:
        """Return what a call returns; as long as that is not known here, something instead."""
        number, self._number = self._number, self._number + 1
        self.mine = number % processes.count() == processes.rank()
        if self.known:
            return self._made[number]
        if not self.mine:
            return instead()
        self._made[number] = call()
        return self._made[number]

    def exchange(self) -> None:
        """Learn what all calls returned; the next call is the first one again."""
        for made in processes.gather(self._made):
            self._made |= made
        self._number, self.known = 0, True


class _OwnAnswers:
    """lm-eval's cache hook, for answers of this process alone."""

    def __init__(self, hook: Any, calls: _Calls[Any]) -> None:
        self._hook, self._calls = hook, calls

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Keep an answer, unless it stands in for that of another process."""
        if self._calls.mine:
            self._hook.add_partial(attr, req, res)


class DataParallelLM(HFLM):  # type: ignore[misc]
    """``hf`` whose batches are divided among the processes of ``accelerate launch``.

    Attributes:
        divides_batches: Whether it does; subclasses that are given their share do not.
    """

    divides_batches = True
    cache_hook: Any
    _calls: _Calls[Any] | None = None  # of what is being answered
    _sizes: list[int]  # batch sizes that were found for it

    @property
    def rank(self) -> int:
        """Number of the process among those that lm-eval divides documents among: one."""
        return 0

    @property
    def world_size(self) -> int:
        """Number of these processes."""
        return 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return processes.rank() == 0

    @property
    def divided(self) -> bool:
        """Whether there are other processes to divide batches among."""
        # lm-eval has one if accelerate found several processes, and not under tensor parallelism
        return self.divides_batches and hasattr(self, "accelerator") and processes.count() > 1

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the responses to requests.

        Args:
            requests: Prompt and generation arguments of each.
            disable_tqdm: Show no progress bar.

        Raises:
            ModelError: The processes were given different requests.
        """
        answer = super().generate_until
        # each answer is kept when its batch has been written
        return self._divide(lambda quiet: answer(requests, quiet), requests, disable_tqdm, True)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the scores of whole texts.

        Args:
            requests: The texts.
            disable_tqdm: Show no progress bar.

        Raises:
            ModelError: The processes were given different requests.
        """
        answer = super().loglikelihood_rolling
        # answers are sums over batches, and kept when all of these have been read
        return self._divide(lambda quiet: answer(requests, quiet), requests, disable_tqdm, False)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the scores of continuations.

        Args:
            requests: Context and continuation of each.
            disable_tqdm: Show no progress bar.

        Raises:
            ModelError: The processes were given different requests.
        """
        if self.divided:
            _check_same(requests)
        quiet = disable_tqdm or not self.is_first
        return list(super().loglikelihood(requests, disable_tqdm=quiet))

    def _divide(
        self,
        answer: Callable[[bool], list[_T]],
        requests: Sequence[Instance],
        quiet: bool,
        keeps: bool,
    ) -> list[_T]:
        """Run lm-eval's loop over batches twice: with this process's share, and with all batches.

        The second time, nothing is left for the model to do, and lm-eval makes of the outputs what
        it makes of them in one process.

        Args:
            answer: The loop; takes whether to show no progress bar.
            requests: What is answered.
            quiet: Show no progress bar.
            keeps: Whether the first time lm-eval's cache may have the answers of this process.
        """
        if not self.divided:
            return answer(quiet)
        _check_same(requests)
        hook: Any = self.cache_hook
        self._calls, self._sizes = _Calls(), []
        try:
            self.cache_hook = _OwnAnswers(hook, self._calls if keeps else _Calls())
            answer(quiet or not self.is_first)
            self.cache_hook = hook
            self._calls.exchange()
            return answer(True)
        finally:
            self.cache_hook, self._calls = hook, None

    def _share_out(self, call: Callable[[], _T], instead: Callable[[], _T]) -> _T:
        """Make a call of lm-eval's loop here, or have it from the process that makes it."""
        return call() if self._calls is None else self._calls.make(call, instead)

    def _model_generate(self, context: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Write a batch.

        Args:
            context: Token ids of the prompts, of shape (rows, width).
            *args: As ``hf`` takes them.
            **kwargs: As ``hf`` takes them.

        Returns:
            Prompts and responses, of shape (rows, width + longest response).
        """
        write: Callable[..., torch.Tensor] = super()._model_generate
        return self._share_out(lambda: write(context, *args, **kwargs).cpu(), lambda: context)

    def _detect_batch_size(self, requests: Sequence[Any] | None = None, pos: int = 0) -> int:
        """Return the largest batch size that works in all processes."""
        if self._calls is not None and self._calls.known:
            return self._sizes.pop(0)
        size = int(super()._detect_batch_size(requests, pos))
        if self.divided:
            size = min(processes.gather(size))
            self._sizes = [*getattr(self, "_sizes", []), size]
        return size

    def _falls_here(self, batch: int) -> bool:
        """Tell whether this process answers a batch; not if others make the whole call."""
        if self._calls is not None or not self.divided:
            return True
        return batch % processes.count() == processes.rank()

    def _exchange(self, answers: list[_T | None]) -> list[_T]:
        """Fill in the answers that other processes have, None here."""
        alone = self._calls is not None or not self.divided
        everywhere = [answers] if alone else processes.gather(answers)
        return [
            next(answer for answer in same if answer is not None)
            for same in zip(*everywhere, strict=True)
        ]


def _check_same(requests: Sequence[Instance]) -> None:
    """Refuse to divide what the processes do not agree on.

    Raises:
        ModelError: The processes were given different requests.
    """
    digest = hashlib.sha256(repr([request.args for request in requests]).encode()).hexdigest()
    if len(set(processes.gather(digest))) > 1:
        raise ModelError(
            "the processes were given different requests, since the task builds them in another "
            "order every time; set PYTHONHASHSEED=0, or use one process"
        )
