"""Remove files of earlier runs from an output folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..cuts.keep import Cut
from ..files import CONFIRMED, cut_folder, file_name


def clean_up(output: Path) -> None:
    """Remove the unfinished files of a killed process."""
    for folder in output.glob(".writing-*"):
        shutil.rmtree(folder, ignore_errors=True)


def remove_others(output: Path, cuts: Iterable[Cut]) -> None:
    """Remove the folders of cuts that this run did not score."""
    kept = {cut_folder(output, cut.name) for cut in cuts}
    for other in {*output.glob("boundary=*"), *output.glob("cut=*")} - kept:
        shutil.rmtree(other, ignore_errors=True)


def remove_other_confirmations(output: Path, tasks: Iterable[str]) -> None:
    """Remove the folders of tasks that this run did not score on the test split."""
    kept = {output / CONFIRMED / file_name(task) for task in tasks}
    for other in set((output / CONFIRMED).glob("*")) - kept:
        shutil.rmtree(other, ignore_errors=True)
    if not kept:
        remove_folder(output / CONFIRMED)


def remove_folder(folder: Path) -> None:
    """Remove a folder of an earlier run, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)
