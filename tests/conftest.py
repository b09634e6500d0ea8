"""Set-up for all tests: no network, and tiny models on disk."""

from __future__ import annotations

import os
import tempfile

# Set before anything imports huggingface_hub or datasets.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="datasets-"))

import pickle
from collections.abc import Callable, Iterable, Iterator
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


@pytest.fixture(scope="session", autouse=True)
def _task_files_read_once() -> Iterator[None]:
    """Read each of lm-eval's thousands of task files once per process.

    An index of them takes 4 seconds, and many tests need one with a folder of their own besides.
    """
    import lm_eval.tasks

    try:
        from lm_eval.tasks._index import TaskIndex
    except ImportError:  # another version of lm-eval keeps it elsewhere
        yield
        return
    own = Path(lm_eval.tasks.__file__).parent
    build = TaskIndex.build
    known: dict[str, bytes] = {}

    def remembered(paths: Iterable[Path], **options: Any) -> Any:
        roots = list(paths)
        if own not in roots[:1]:
            return build(roots, **options)
        key = repr(sorted(options.items()))
        if key not in known:
            known[key] = pickle.dumps(build(roots[:1], **options))
        # a copy, since whoever builds a task may change what the index holds
        return pickle.loads(known[key]) | build(roots[1:], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskIndex, "build", staticmethod(remembered))
        yield
