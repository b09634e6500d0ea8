"""Local paths of base models and adapters, checked in an instant: this imports no library."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import AdapterError, ModelError
from ..untrusted import is_regular

CONFIG = "adapter_config.json"
_BASE_CONFIG = "config.json"


def check_adapter_path(peft: str | Path) -> None:
    """Refuse a local path that is no adapter folder; a hub id passes.

    Raises:
        AdapterError: It is none.
    """
    path = Path(peft).expanduser()
    if is_regular(path):
        raise AdapterError(f"peft={peft} is a file; give the folder that holds {CONFIG}")
    if path.is_dir():
        check_adapter_folder(path, peft)
    elif _only_a_path(peft):
        raise AdapterError(f"peft={peft} does not exist; expected an adapter folder, or a hub id")


def check_adapter_folder(folder: Path, peft: str | Path) -> None:
    """Refuse a folder without the config of an adapter.

    Args:
        folder: The folder.
        peft: What the user gave for it.

    Raises:
        AdapterError: There is no config.
    """
    if (folder / CONFIG).is_file():
        return
    below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if below:
        raise AdapterError(
            f"peft={peft} holds no {CONFIG}, but folders below it do: {', '.join(below)}; "
            f"give one of them, such as peft={folder / below[-1]}"
        )
    swapped = " Did you swap pretrained and peft?" if _holds_model(folder) else ""
    raise AdapterError(
        f"peft={peft} comes without {CONFIG}, so it is not a PEFT adapter; expected what "
        f"save_pretrained() writes.{swapped}"
    )


def check_base_path(pretrained: str, *, has_arguments: bool) -> None:
    """Refuse a local path that is no base model; a hub id passes.

    Args:
        pretrained: What the user gave.
        has_arguments: Whether model arguments may say where in the folder the model is.

    Raises:
        ModelError: It is none.
    """
    path = Path(pretrained).expanduser()
    if not path.exists():
        if _only_a_path(pretrained):
            raise ModelError(
                f"pretrained={pretrained} does not exist; expected a model folder, or a hub id"
            )
        return
    if (path / CONFIG).is_file():
        refuse_adapter(pretrained, path / CONFIG)
    if path.is_dir() and not has_arguments and not _holds_model(path):
        raise ModelError(
            f"pretrained={pretrained} comes without {_BASE_CONFIG}, so it is not a model; expected "
            "what save_pretrained() writes"
        )


def refuse_adapter(pretrained: str, config: Path, *, takes_adapter: bool = True) -> None:
    """Refuse a base model that is an adapter, or has one next to its checkpoint.

    transformers would silently load the adapter, and every score would be that of another model.

    Args:
        pretrained: What the user gave: hub id or local folder.
        config: The adapter's config that was found there.
        takes_adapter: Whether the user can also give an adapter.

    Raises:
        ModelError: Always.
    """
    base = _named_base(config, pretrained)
    remedy = f"give pretrained={base or 'BASE'}"
    if takes_adapter:
        remedy += f",peft={pretrained}"
    if base is None:
        remedy += ", where BASE is the model that the adapter was trained on"
    if Path(pretrained).is_dir() and _holds_model(config.parent):
        raise ModelError(
            f"pretrained={pretrained} holds an adapter ({config.name}) beside its checkpoint, and "
            f"transformers would load both; expected a base model alone: {remedy}. To use the "
            "checkpoint without the adapter, move the adapter_* files out of the folder."
        )
    raise ModelError(
        f"pretrained={pretrained} is an adapter ({config.name}); expected a base model: {remedy}"
    )


def _only_a_path(name: str | Path) -> bool:
    """Return whether a name cannot be a hub id."""
    return isinstance(name, Path) or str(name).startswith(("/", "./", "../", "~"))


def _named_base(config: Path, pretrained: str) -> str | None:
    """Return the base model that an adapter's config names, unless it is the adapter itself."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    usable = isinstance(base, str) and base and base.isprintable() and base != pretrained
    return base if usable else None


def _holds_model(folder: Path) -> bool:
    return (folder / _BASE_CONFIG).is_file() or any(folder.glob("*.gguf"))
