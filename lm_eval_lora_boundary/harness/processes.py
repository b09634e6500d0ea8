"""The processes of an ``accelerate launch``: one leads, the others follow its orders.

The leader runs the whole flow as a single process would, and so takes every decision; what it
wants done by all, it sends round as an order. Followers know nothing but the orders: no process
can wait for another that has gone a different way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from ..errors import LoraBoundaryError

_O = TypeVar("_O")
_T = TypeVar("_T")
_EVER = timedelta(weeks=52)  # as in lm-eval: processes wait for each other as long as work takes
_PARTING = timedelta(seconds=60)


@dataclass(frozen=True)
class _End:
    """The last order: what the leader returned or raised."""

    value: Any = None
    mistake: LoraBoundaryError | None = None


def count() -> int:
    """Return how many processes a launcher has started; 1 without launcher."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Return the number of this process among them, 0 for the leader."""
    return int(os.environ.get("RANK", 0)) if count() > 1 else 0


def refuse_several(what: str) -> None:
    """Refuse to do in several processes what one does.

    Args:
        what: What was asked for.

    Raises:
        LoraBoundaryError: There are several processes.
    """
    if count() > 1:
        raise LoraBoundaryError(
            f"{what} runs in one process and {count()} were launched; start it without accelerate "
            "launch"
        )


def gather(value: _T) -> list[_T]:
    """Return what each process gives, in all processes, by rank; all of them must call it."""
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_group())
    return values


def _refuse_several_machines() -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count()))
    if here != count():
        raise LoraBoundaryError(
            f"{here} of {count()} processes are on this machine; a sweep keeps its answers in one "
            "SQLite file, which takes processes of one machine: launch with --num_machines 1"
        )


def together(lead: Callable[[], _T], follow: Callable[[Any], None]) -> _T:
    """Run something that gives orders to all processes.

    Args:
        lead: What the first process does; it may call :func:`command`.
        follow: What the others do with each order.

    Returns:
        What ``lead`` returned, in every process.

    Raises:
        LoraBoundaryError: What ``lead`` raised, in every process; or there are several machines.
    """
    if count() == 1:
        return lead()
    _refuse_several_machines()
    if rank() == 0:
        try:
            value = lead()
        except LoraBoundaryError as mistake:
            _send(_End(mistake=mistake))
            raise
        _send(_End(value))
        return value
    while not isinstance(order := _send(None), _End):
        gather(_done(follow, order)[1])
    if order.mistake is not None:
        raise order.mistake
    result: _T = order.value
    return result


def command(order: _O, work: Callable[[_O], _T]) -> _T:
    """Have an order followed by all processes, and do the leader's part of it.

    Args:
        order: The order.
        work: What the leader does with it.

    Returns:
        What ``work`` returned.

    Raises:
        LoraBoundaryError: One of the processes raised it.
    """
    if count() == 1:
        return work(order)
    _send(order)
    result: _T
    result, mistake = _done(work, order)
    for found in gather(mistake):
        if found is not None:
            raise found
    return result


def _done(work: Callable[[Any], Any], order: Any) -> tuple[Any, LoraBoundaryError | None]:
    """Follow an order; return the result, or the mistake that came up."""
    try:
        return work(order), None
    except LoraBoundaryError as mistake:
        return None, mistake


def print_once(line: str) -> None:
    """Print a user's mistake before this process ends, once for all processes that found it.

    A launcher ends all processes as soon as one has ended. So the others wait until the first has
    printed; if it does not come, it knows of no mistake, and they print.
    """
    if rank() == 0:
        print(line, file=sys.stderr, flush=True)
    if count() == 1:
        return
    import torch.distributed

    try:
        _connect(_PARTING)
        group = torch.distributed.new_group(backend="gloo", timeout=_PARTING)
        torch.distributed.barrier(group)
    except (RuntimeError, ValueError, OSError):
        if rank() != 0:
            print(line, file=sys.stderr, flush=True)


def _connect(patience: timedelta) -> None:
    """Set up what accelerate and lm-eval use, too; nothing if they have done it."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    PartialState(cpu=bool(parse_flag_from_env("ACCELERATE_USE_CPU")), timeout=patience)


@cache
def _group() -> Any:
    """Return a group of all processes for what needs no GPU."""
    import torch.distributed

    _connect(_EVER)
    return torch.distributed.new_group(backend="gloo", timeout=_EVER)


def _send(order: Any) -> Any:
    """Send an order from the first process to all, and return it."""
    import torch.distributed

    orders = [order]
    torch.distributed.broadcast_object_list(orders, src=0, group=_group())
    return orders[0]
