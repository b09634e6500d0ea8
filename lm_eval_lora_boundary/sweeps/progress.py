"""How far a sweep is: all its splits and tasks in one number, which moves within a batch too."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..errors import inert
from ..forward.requests import Generate, Request
from ..harness import processes
from ..harness.display import Display

logger = logging.getLogger("lm_eval.lora_boundary")

# Until the first batch has shown it: the share of the longest response that is written.
_WRITTEN = 0.5
_ALMOST = 0.95  # of a batch is done at most, as long as its answers are not there
# Work of an answer: writing one takes longer than scoring one. On SAMSum, 3 times as long.
WRITTEN, SCORED = 3, 1


class Progress:
    """Shows how far a sweep is.

    Its unit is the work of scoring one answer: a request under a cut. What a batch still has to do
    is estimated from the tokens that have passed the layers.
    """

    def __init__(self, layers: Sequence[nn.Module] = ()) -> None:
        """Prepare; nothing is shown before :meth:`expect`.

        Args:
            layers: The decoder layers, whose work is watched; none if they run elsewhere.
        """
        self._hooks = [layer.register_forward_hook(self._passed) for layer in layers]
        self._display: Display | None = None
        self._expected: dict[str, dict[str, float]] = {}  # work to come, by stage and task
        self._announced: set[tuple[str, str]] = set()
        self._stage = self._task = ""
        self._requests = self._answered = 0  # of the task
        self._done = self._stored = 0.0  # work
        self._batch = 0  # work of the batch that is being answered
        self._passes = self._reading = self._expected_passes = 0.0  # of tokens, in that batch
        self._known: float | None = None  # passes of a whole batch, by those of its prompts

    def expect(self, stages: Mapping[str, Mapping[str, int]]) -> None:
        """Begin to show the progress.

        Args:
            stages: For each stage of the sweep, in order, about how much work each task will
                take: answers times the work of one.
        """
        self._expected = {stage: dict(tasks) for stage, tasks in stages.items()}
        if self._display is None:
            self._display = Display("sweep")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Answer requests for one of the expected stages."""
        self._stage = name
        yield
        # what a race left out, or a stored run had scored already
        self._stored += sum(self._expected.pop(name, {}).values())
        self._stage = ""

    @contextmanager
    def task(self, name: str, requests: int, work: int, cuts: str) -> Iterator[None]:
        """Answer requests of a task.

        Args:
            name: The task.
            requests: Number of its requests, each as often as it is in a batch.
            work: The work of their answers.
            cuts: The cuts that they are answered under, in words.

        Raises:
            KeyboardInterrupt: There was one; its text says how far the task got.
        """
        several = f", process 1 of {processes.count()}" if processes.count() > 1 else ""
        if processes.rank() == 0 and (self._stage, name) not in self._announced:
            self._announced.add((self._stage, name))
            logger.info("%s: %d requests under %s%s", inert(name), requests, cuts, several)
        self._task, self._known = name, None
        self._requests, self._answered = requests, 0
        self._learn(name, work)
        try:
            yield
        except KeyboardInterrupt as interrupt:
            reached = f"after {self._answered:,} of {requests:,} requests of {name}{several}"
            raise KeyboardInterrupt(reached) from interrupt

    def begin(self, batch: Sequence[Request], cuts: int, passes: int) -> None:
        """Begin to answer a batch.

        Args:
            batch: The requests.
            cuts: Number of cuts that they are answered under.
            passes: Layer passes that a token of a prompt takes.
        """
        self._batch = work_of(batch, cuts)
        self._passes = 0.0
        self._reading = passes * float(sum(len(each.beginning) + 1 for each in batch))
        written = sum(each.max_new_tokens for each in batch if isinstance(each, Generate))
        guess = 1 + _WRITTEN * written * passes / self._reading
        self._expected_passes = self._reading * (self._known or guess)

    def answered(self, requests: Sequence[Request], cuts: int, *, stored: bool = False) -> None:
        """Count answers to requests; ``stored``: an earlier run had given them."""
        work = work_of(requests, cuts)
        self._answered += len(requests)
        self._done += work
        if stored:
            self._stored += work
        elif self._reading:
            self._known = self._passes / self._reading
        expected = self._expected.get(self._stage, {})
        if self._task in expected:
            expected[self._task] = max(0.0, expected[self._task] - work)
        self._batch = 0
        self._show()

    def close(self) -> None:
        """Remove the bar, and stop watching the layers."""
        for hook in self._hooks:
            hook.remove()
        if self._display is not None:
            self._display.close()

    def _learn(self, name: str, work: int) -> None:
        """Learn that documents of a task take more answers than one, in later stages too."""
        expected = self._expected.get(self._stage, {}).get(name, 0.0)
        if 0 < expected < work:
            for tasks in self._expected.values():
                if name in tasks:
                    tasks[name] *= work / expected

    def _passed(self, layer: nn.Module, arguments: Any, output: Any) -> None:
        """Count the tokens that have passed a layer."""
        del layer, arguments
        states = output[0] if isinstance(output, tuple) else output
        self._passes += states.shape[:-1].numel()
        self._show()

    def _show(self) -> None:
        if self._display is None:
            return
        share = min(_ALMOST, self._passes / self._expected_passes) if self._batch else 0.0
        done = self._done + share * self._batch
        left = sum(sum(tasks.values()) for tasks in self._expected.values())
        text = f"{self._stage} {self._answered:,} of {self._requests:,}"
        self._display.show(done, self._done + left, text, stored=self._stored)


def work_of(requests: Sequence[Request], cuts: int) -> int:
    """Return the work of answering requests under so many cuts."""
    return cuts * sum(WRITTEN if isinstance(each, Generate) else SCORED for each in requests)
