"""Remove from an output folder what does not belong to the sweep any more."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..files import CONFIRMED, boundary_folder, file_name


def clean_up(output: Path) -> None:
    """Remove what a killed process was writing."""
    for folder in output.glob(".writing-*"):
        shutil.rmtree(folder, ignore_errors=True)


def remove_others(output: Path, boundaries: Iterable[int]) -> None:
    """Remove what another adapter, or another choice of boundaries, left in a folder.

    Args:
        output: The folder.
        boundaries: Those whose folders were written now.
    """
    kept = {boundary_folder(output, boundary) for boundary in boundaries}
    for other in set(output.glob("boundary=*")) - kept:
        shutil.rmtree(other, ignore_errors=True)


def remove_other_confirmations(output: Path, tasks: Iterable[str]) -> None:
    """Remove what was scored on the test split in a folder before.

    Args:
        output: The folder of the sweep.
        tasks: Those that were scored there now.
    """
    kept = {output / CONFIRMED / file_name(task) for task in tasks}
    for other in set((output / CONFIRMED).glob("*")) - kept:
        shutil.rmtree(other, ignore_errors=True)
    if not kept:
        shutil.rmtree(output / CONFIRMED, ignore_errors=True)
