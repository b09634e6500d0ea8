"""Set-up for all tests: no network, and tiny models on disk."""

from __future__ import annotations

import os
import tempfile

# Set before anything imports huggingface_hub or datasets.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="datasets-"))

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tiny_models import save_adapter, tiny_model, tiny_tokenizer

pytest_plugins = ["sweep_fixtures"]

# The same examples in every run, so that a change is never refused for what it did not touch.
# `make test-all` tries new ones.
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("new", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Return a function that returns the folders of a tiny base model and of its adapter."""
    written: dict[str, tuple[Path, Path]] = {}

    def write(
        architecture: str = "llama", *, tied: bool = False, **config: Any
    ) -> tuple[Path, Path]:
        key = repr((architecture, tied, sorted(config.items(), key=str)))
        if key not in written:
            folder = tmp_path_factory.mktemp(architecture)
            base = tiny_model(architecture, tied=tied)
            base.save_pretrained(folder / "base")
            tiny_tokenizer().save_pretrained(folder / "base")
            save_adapter(folder / "adapter", base, **config)
            written[key] = (folder / "base", folder / "adapter")
        return written[key]

    return write
