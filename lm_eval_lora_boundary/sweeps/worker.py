"""What the other processes of a sweep do while the first one runs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from ..harness.signature import describe_run, identity
from ..harness.sweep_lm import SweepLM
from .engines import find_engines
from .progress import Progress
from .scheduler import Scheduler, Work
from .settings import SweepSettings
from .store import AnswerStore


@dataclass(frozen=True)
class Load:
    """The order to load the model and its engines; the store of answers exists by then."""


class Worker:
    """Answers its share of the requests."""

    def __init__(self, settings: SweepSettings, output: Path, load: Callable[[], SweepLM]) -> None:
        """Prepare, and wait for orders, the first of which is to load."""
        self._settings = settings
        self._output = output
        self._load = load
        self._scheduler: Scheduler | None = None
        self._scope = ExitStack()

    def obey(self, order: Load | Work) -> None:
        """Follow an order.

        Raises:
            LoraBoundaryError: As in the first process.
        """
        if isinstance(order, Load):
            self._scheduler = self._loaded()
        else:
            assert self._scheduler is not None
            self._scheduler.answer_share(order)

    def _loaded(self) -> Scheduler:
        lm = self._load()
        store = self._scope.enter_context(closing(AnswerStore(self._output, joins=True)))
        engines = self._scope.enter_context(closing(find_engines(lm, self._settings.engine)))
        how = identity(describe_run(lm, self._settings))
        # The first process decides the number of rows and shows the progress.
        return Scheduler(engines, store, how, None, Progress())

    def close(self) -> None:
        """Close the store and the engines."""
        self._scope.close()
