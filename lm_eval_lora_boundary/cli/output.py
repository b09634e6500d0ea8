"""What commands print: progress, log messages and tables."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import warnings
from pathlib import Path

from ..harness import processes
from .noise import hide_noise

_WIDTH = 160  # in a file or a pipe, where rich would wrap tables at 80 columns


def hide_progress_bars() -> None:
    """Hide the progress bars of libraries: the commands show one of their own."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported


def announce(text: str) -> None:
    """Say what takes a while, before it begins."""
    if processes.rank() == 0:
        print(text, file=sys.stderr, flush=True)


def print_lines(text: str) -> None:
    """Print lines as a terminal only shows them, whatever they quote."""
    from ..errors import inert

    for line in text.split("\n"):
        print(inert(line))


def print_paragraphs(text: str) -> None:
    """Print one paragraph per line of a text, as wide as the terminal, with a hanging indent."""
    from rich.console import Console

    from ..errors import inert
    from ..report.short_answer import WIDTH

    width = min(Console().width, WIDTH) if _knows_width() else WIDTH
    for line in map(inert, text.split("\n")):
        start = line[: len(line) - len(line.lstrip())]
        indent = f"{start}  " if start else ""
        # a name or a path longer than a line stays whole
        wrapped = textwrap.wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        print("\n".join(wrapped))


def _knows_width() -> bool:
    """Return whether the output has a width, and is no file or pipe."""
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def print_answer(folder: Path, *, all_rows: bool = False, wide: bool = False) -> None:
    """Print the result of a finished sweep.

    Args:
        folder: The sweep's folder.
        all_rows: Show every boundary, and not only those that matter.
        wide: Show all that the report's tables have instead.
    """
    from rich.console import Console
    from rich.text import Text

    from ..report.full_answer import full_answer
    from ..report.read import read_sweep
    from ..report.short_answer import WIDTH, short_answer, whole_adapter

    knows_width = _knows_width()
    # names of tasks and metrics are no markup
    console = Console(
        width=None if knows_width else _WIDTH, markup=False, emoji=False, highlight=False
    )
    if wide:
        for part in full_answer(read_sweep(folder), whole_adapter(folder)):
            console.print(part)
        return
    width = min(console.width, WIDTH) if knows_width else WIDTH
    for line in short_answer(folder, width=width, all_rows=all_rows):
        console.print(Text(line.text, "bold" if line.bold else ""), soft_wrap=True)


def set_up_logging(lm_eval: int = logging.WARNING) -> None:
    """Print this package's messages, and those of lm-eval from the given level on.

    With several processes, the first one prints. The others print their own warnings at most.
    """
    logging.basicConfig(format="%(message)s")
    hide_noise()
    ours = max(logging.INFO, lm_eval - 10)
    if processes.rank() != 0:
        from ..upstream.transformers import hide_progress_bars

        lm_eval, ours = logging.ERROR, logging.WARNING
        hide_progress_bars()
    logging.getLogger("lm_eval").setLevel(lm_eval)
    logging.getLogger("lm_eval.lora_boundary").setLevel(ours)
    # PEFT's use of transformers: nothing that a user can change
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
