"""Tests against the real vLLM, in an environment of its own: `make test-vllm`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_models import save_adapter, tiny_model, tiny_tokenizer
from tiny_tasks import write_tasks

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]

# Start vLLM quickly on a small CPU machine, without reporting usage.
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0-1" if (os.cpu_count() or 1) > 1 else "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs Python with vLLM's settings and checks its exit status."""

    def command(*words: str, status: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *words],
            env=os.environ | ENVIRONMENT | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return command


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random model whose head size vLLM has kernels for, and an adapter for it."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(
        hidden_size=128, intermediate_size=192, num_attention_heads=2, num_key_value_heads=1,
        head_dim=64, tied=True,
    )  # fmt: skip
    base.save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    save_adapter(folder / "adapter", base, r=8)
    return folder / "base", folder / "adapter"


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))
