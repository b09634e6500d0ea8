"""The notebook runs, with a tiny model and a tiny task instead of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook" / "lora_boundary.ipynb"

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="installed without the docs")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own packages
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_notebook_runs(
    tiny: Callable[..., tuple[Path, Path]],
    task_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "BASE": tiny()[0],
        "TASK": "tiny_words",
        "TASK_FOLDER": task_folder,
        "TRAIN_ON": 2,
        "TEST_ON": 4,
        "FOLDER": tmp_path / "out",
        "DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    assert (tmp_path / "out" / "sweep" / "report.html").is_file()
    assert (tmp_path / "out" / "cut" / "adapter_config.json").is_file()


def test_the_notebook_has_no_output() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
