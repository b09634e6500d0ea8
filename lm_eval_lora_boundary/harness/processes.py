"""The processes of ``accelerate launch``: the first one runs the job, the others are workers.

The first process runs everything as a single process would, and makes all decisions. What all
processes must do, it sends to them as an order. Workers only follow orders, so no process can wait
for one that has taken another path.
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
_WORK_TIMEOUT = timedelta(weeks=52)  # as in lm-eval: processes wait as long as the work takes
_EXIT_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True)
class _End:
    """The last order: what the first process returned or raised."""

    value: Any = None
    error: LoraBoundaryError | None = None


def count() -> int:
    """Return how many processes a launcher has started; 1 without a launcher."""
    return world_size() if "LOCAL_RANK" in os.environ else 1


def world_size() -> int:
    """Return ``WORLD_SIZE``, which batch systems also set where there is only one process."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return the number of this process; 0 is the first one."""
    return int(os.environ.get("RANK", 0)) if count() > 1 else 0


def is_mine(number: int) -> bool:
    """Return whether this process does the piece of work with this number."""
    return number % count() == rank()


def refuse_several(what: str, launched: int | None = None) -> None:
    """Raise a LoraBoundaryError if the job ``what`` runs in several processes.

    Args:
        what: Name of the job.
        launched: How many there are; None for :func:`count`.
    """
    launched = count() if launched is None else launched
    if launched > 1:
        raise LoraBoundaryError(
            f"{what} runs in one process and {launched} were launched (WORLD_SIZE={launched}); "
            "start it without accelerate launch"
        )


def gather(value: _T) -> list[_T]:
    """Return the values that all processes pass, by rank. All of them must call this."""
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_group())
    return values


def together(run: Callable[[], _T], obey: Callable[[Any], None]) -> _T:
    """Run a job that gives orders to all processes.

    Args:
        run: The job, for the first process; it may call :func:`command`.
        obey: Follows an order, in the workers.

    Returns:
        What ``run`` returned, in every process.

    Raises:
        LoraBoundaryError: What ``run`` raised, in every process; or there are several machines.
    """
    if count() == 1:
        return run()
    _refuse_several_machines()
    if rank() == 0:
        try:
            value = run()
        except LoraBoundaryError as error:
            _send(_End(error=error))
            raise
        _send(_End(value))
        return value
    while not isinstance(order := _send(None), _End):
        gather(_try(obey, order)[1])
    if order.error is not None:
        raise order.error
    result: _T = order.value
    return result


def _refuse_several_machines() -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count()))
    if here != count():
        raise LoraBoundaryError(
            f"{here} of {count()} processes are on this machine, and a sweep keeps its answers in "
            "an SQLite file, which only processes of one machine can share; launch with "
            "--num_machines 1"
        )


def command(order: _O, obey: Callable[[_O], _T]) -> _T:
    """Have all processes follow an order, this one by calling ``obey``; return its result.

    Raises:
        LoraBoundaryError: One of the processes raised it.
    """
    if count() == 1:
        return obey(order)
    _send(order)
    result: _T
    result, own_error = _try(obey, order)
    for error in gather(own_error):
        if error is not None:
            raise error
    return result


def _try(obey: Callable[[Any], Any], order: Any) -> tuple[Any, LoraBoundaryError | None]:
    try:
        return obey(order), None
    except LoraBoundaryError as error:
        return None, error


def print_once(line: str) -> None:
    """Print an error before this process ends, once for all processes that have it.

    A launcher ends all processes as soon as one has ended. So the others wait until the first has
    printed. If it does not come, it does not have the error, and they print.
    """
    if rank() == 0:
        print(line, file=sys.stderr, flush=True)
    if count() == 1:
        return
    import torch.distributed

    try:
        _connect(_EXIT_TIMEOUT)
        group = torch.distributed.new_group(backend="gloo", timeout=_EXIT_TIMEOUT)
        torch.distributed.barrier(group)
    except (RuntimeError, ValueError, OSError):
        if rank() != 0:
            print(line, file=sys.stderr, flush=True)


def _connect(timeout: timedelta) -> None:
    """Connect the processes as accelerate and lm-eval do, unless they have."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    PartialState(cpu=bool(parse_flag_from_env("ACCELERATE_USE_CPU")), timeout=timeout)


@cache
def _group() -> Any:
    """Return a group of all processes for what needs no GPU."""
    import torch.distributed

    _connect(_WORK_TIMEOUT)
    return torch.distributed.new_group(backend="gloo", timeout=_WORK_TIMEOUT)


def _send(order: Any) -> Any:
    """Send an order from the first process to all, and return it."""
    import torch.distributed

    orders = [order]
    torch.distributed.broadcast_object_list(orders, src=0, group=_group())
    return orders[0]
