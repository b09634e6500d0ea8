"""The same command gives the same files, and other batches the same choice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_files import left
from fault_server import FaultServer

# Sums of fp32 products in another order: the log-likelihoods here are below 100, so rounding moves
# them by some 1e-5, and word_perplexity by as much relative to itself.
TOLERANCE = 1e-4
_NUMBER = re.compile(r"\d[\d.,e+-]*")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["sweep", "trace", "train", "export"])
def test_another_process_on_another_day(
    server: FaultServer, commands: Any, task_folder: Path, tmp_path: Path, name: str
) -> None:
    """Nothing depends on hash seeds, time zones, languages or the folder's name."""
    other = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "HOSTNAME": "other"}
    found = []
    with closing(FaultServer(tmp_path, task_folder, **other)) as second:
        for number, each in enumerate((server, second)):
            folder = tmp_path / f"folder{number}"
            folder.mkdir()
            assert each.run(folder, *commands[name](folder / "out")).code == 0
            found.append(left(folder))
    different = [file for file in found[0] if found[0][file] != found[1].get(file)]
    assert not different and found[0].keys() == found[1].keys()


def numbers(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in JSON with its place."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from numbers(value, f"{path}.{name}")
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from numbers(value, f"{path}[{place}]")
    else:
        yield path, content


def check_same(run: Any, tasks: str, sizes: list[int | None], **settings: Any) -> None:
    first, *others = (
        run(tasks, output=f"rows{size}", batch_size=size, **settings)["tasks"] for size in sizes
    )
    for other in others:
        for (path, ours), (place, theirs) in zip(numbers(first), numbers(other), strict=True):
            assert path == place
            if isinstance(ours, float) and isinstance(theirs, float):
                assert math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE), path
            elif isinstance(ours, str) and " " in ours:  # a sentence, with rounded numbers in it
                assert _NUMBER.sub("", ours) == _NUMBER.sub("", theirs), path
            else:
                assert ours == theirs, path


@pytest.mark.slow
@pytest.mark.usefixtures("fast_tasks")
def test_the_choice_does_not_depend_on_the_batch_size(run: Any) -> None:
    check_same(run, "tiny_words,tiny_last_word", [3, None], boundaries=[0, 2])


@pytest.mark.slow
@pytest.mark.usefixtures("fast_tasks")
@pytest.mark.parametrize("engine", ["fork", "toggle"])
def test_no_number_depends_much_on_the_batch_size(run: Any, engine: str) -> None:
    tasks = "tiny_words,tiny_choices,tiny_last_word,tiny_text"
    check_same(run, tasks, [1, 3, 8, None], engine=engine)
