"""A sweep in the processes that follow the first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..harness.signature import describe_run, identity
from ..harness.sweep_lm import SweepLM
from .engines import find_engines
from .progress import Progress
from .scheduler import Answering, Work
from .settings import SweepSettings
from .store import AnswerStore


@dataclass(frozen=True)
class Load:
    """The order to load the model; the file for answers is there."""


class Follower:
    """Answers its share of the requests that the first process gives out."""

    def __init__(self, settings: SweepSettings, output: Path, load: Callable[[], SweepLM]) -> None:
        """Prepare; nothing is done without an order.

        Args:
            settings: The sweep.
            output: Its folder.
            load: Loads the model.
        """
        self._settings = settings
        self._output = output
        self._load = load
        self._lm: SweepLM
        self._store: AnswerStore
        self._answering: Answering | None = None
        self._open = ExitStack()

    def obey(self, order: Load | Work) -> None:
        """Follow an order.

        Raises:
            LoraBoundaryError: As the first process would.
        """
        if isinstance(order, Load):
            self._store = self._open.enter_context(AnswerStore(self._output, joins=True))
            self._lm = self._load()
            return
        if self._answering is None:
            self._answering = self._ready()
        self._answering.answer_share(order)

    def _ready(self) -> Answering:
        engines = find_engines(self._lm, self._settings.engine)
        how = identity(describe_run(self._lm, self._settings))
        # boundaries, rows and progress are the first process's
        return Answering(engines, self._store, how, (), None, Progress(len))

    def __enter__(self) -> Follower:
        """Return the follower itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file for answers."""
        self._open.close()
