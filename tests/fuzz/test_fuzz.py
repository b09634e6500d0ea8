"""Files and texts that nobody meant: each works, or is refused in one clean line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from spoilt_inputs import Target, faults

from lm_eval_lora_boundary.errors import AdapterError

# inputs of each target in `make test`; reports are slow
FEW = {"config": 60, "plots": 1, "report": 12, "samples": 8, "results": 8, "sweeps": 15}
MANY = 400


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_spoilt_inputs(name: str, tmp_path: Path) -> None:
    assert list(faults(TARGETS[name], FEW.get(name, 40), "few", tmp_path)) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", TARGETS)
def test_many_spoilt_inputs(name: str, tmp_path: Path) -> None:
    many = MANY // 10 if name == "plots" else MANY
    assert list(faults(TARGETS[name], many, "many", tmp_path)) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TypeError("'int' object is not iterable"), "TypeError: 'int' object is not iterable"),
        (SystemExit(3), "SystemExit: 3"),
        (None, None),
        (AdapterError("one line; do this"), None),
        (AdapterError("two\nlines \x1b[31m"), None),  # made one line by the class
        (AdapterError(""), "no single clean line"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_wrong_treatment_is_noticed(
    error: BaseException | None, expected: str | None, tmp_path: Path
) -> None:
    """The check can fail."""

    def attempt(source: random.Random | None, _: Path) -> None:
        if source is not None and error is not None:
            raise error

    found = list(faults(Target(lambda _: None, attempt), 2, "x", tmp_path))
    assert [seed for seed, _ in found] == (["x/0", "x/1"] if expected else [])
    assert all(problem.startswith(expected or "") for _, problem in found)


def test_memory_is_noticed(tmp_path: Path) -> None:
    def attempt(source: random.Random | None, _: Path) -> None:
        if source is not None:
            bytearray(2**40)

    ((_, problem),) = faults(Target(lambda _: None, attempt), 1, "x", tmp_path)
    assert problem.startswith("MemoryError")
