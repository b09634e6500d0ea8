"""The faults of docs/upstream.md are still there. One that fails here has been mended upstream.

Then its workaround can go, once the mended version is the oldest that is allowed. The faults of
vLLM are in `tests/with_vllm`.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval.api.task import ConfigurableTask, Task

DOCS = Path(__file__).parents[2] / "docs"
SCRIPTS = {script.stem: script for script in sorted((DOCS / "upstream").glob("*.py"))}
# changes lm-eval's registry for good
OWN_PROCESS = "lm_eval_registration_hides_models"


@pytest.mark.parametrize(
    "name", [name for name in SCRIPTS if not name.startswith("vllm_") and name != OWN_PROCESS]
)
@pytest.mark.filterwarnings("ignore")
def test_the_fault_is_still_there(name: str) -> None:
    if name.startswith("lm_eval_next_") and ConfigurableTask is not Task:
        pytest.skip("only lm-eval 0.5 has it, which has one class for tasks of any source")
    runpy.run_path(str(SCRIPTS[name]), run_name="__main__")


@pytest.mark.slow
def test_the_fault_of_the_registry_is_still_there() -> None:
    script = SCRIPTS[OWN_PROCESS]
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


def test_the_page_has_every_script_and_no_other() -> None:
    page = (DOCS / "upstream.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(upstream/(\w+)\.py\)", page)) == SCRIPTS.keys()


def test_the_tests_that_the_page_names_exist() -> None:
    page = (DOCS / "upstream.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:tests|benchmarks|lm_eval_lora_boundary)/[\w/]+\.py)", page))
    assert files
    assert not [file for file in files if not (DOCS.parent / file).is_file()]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_scripts_are_short_and_use_public_packages_only(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "lora_boundary" not in text
