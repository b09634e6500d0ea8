"""The faults of vLLM in docs/upstream.md are still there. One that fails here has been mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "docs/upstream").glob("vllm_*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_the_fault_is_still_there(script: Path, run: Any) -> None:
    run(str(script))
