"""The tokenizer that goes with an adapter or a checkpoint."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..cuts.adapter_folder import AdapterFolder
from ..errors import AdapterError, first_line
from .atomic_folder import writing
from .fresh_base import Bases

logger = logging.getLogger("lm_eval.lora_boundary")

# the file names of transformers
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
)


def tokenizer_folder(peft: str | Path, revision: str | None, adapter: AdapterFolder) -> Path:
    """Return the folder that holds the tokenizer files of an adapter, if it has any.

    Raises:
        AdapterError: They cannot be downloaded.
    """
    if Path(peft).expanduser().is_dir():
        return adapter.path
    try:
        return Path(snapshot_download(str(peft), revision=revision, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise AdapterError(
            f"the tokenizer files of {peft} cannot be downloaded ({first_line(error)}); try again, "
            "or give a local copy of the adapter"
        ) from error


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a whole tokenizer, not just a chat template."""
    return (folder / "tokenizer_config.json").is_file()


def copy_tokenizer(source: Path, folder: Path, output: Path) -> list[str]:
    """Copy tokenizer files to a folder that will be called ``output``.

    Returns:
        The names of all tokenizer files that the folder now has.

    Raises:
        AdapterError: One is a link to a file elsewhere.
        OutputError: They cannot be written.
    """
    for path in (source / name for name in _FILES):
        if path.is_file() and not _belongs(path):
            raise AdapterError(
                f"{path} is a link to a file outside its folder, which would be published with the "
                "export; copy the file itself there"
            )
    with writing(output):
        for name in _FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    return [name for name in _FILES if (folder / name).is_file()]


def _belongs(path: Path) -> bool:
    """Return whether a file lies in its folder, or where the hub's cache keeps the contents."""
    folder = path.parent.resolve()
    content = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    target = path.resolve()
    return target.is_relative_to(folder) or target.is_relative_to(content)


def save_tokenizer(bases: Bases, folder: Path, output: Path) -> None:
    """Save the tokenizer of the base model, if there is a way to find it.

    Raises:
        OutputError: It cannot be written.
    """
    tokenizer = bases.tokenizer()
    if tokenizer is None:
        logger.warning("the loaded model does not say where its tokenizer is; %s has none", output)
        return
    with writing(output):
        tokenizer.save_pretrained(str(folder))
