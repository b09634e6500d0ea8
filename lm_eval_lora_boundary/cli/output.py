"""What commands print on the way."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING

from ..harness import processes

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160  # of a file or a pipe, where rich would wrap tables at 80 columns


def quiet_bars() -> None:
    """Show no progress bars where no terminal is; the libraries below show theirs anywhere."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported


def wide_console() -> Console:
    """Return a console for tables."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else WIDTH)


def set_up(lm_eval: int = logging.WARNING) -> None:
    """Print what this package has to say, and of lm-eval what is at least as serious as given.

    Of several processes, the first speaks; the others have at most their own troubles to report.
    """
    logging.basicConfig(format="%(message)s")
    ours = max(logging.INFO, lm_eval - 10)
    if processes.rank() != 0:
        from transformers.utils.logging import disable_progress_bar

        lm_eval, ours = logging.ERROR, logging.WARNING
        disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("lm_eval").setLevel(lm_eval)
    logging.getLogger("lm_eval.lora_boundary").setLevel(ours)
    # from PEFT, about transformers: concerns their developers
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
