"""Base models without weights: their structure tells what fits, what is kept and dropped."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from ..errors import LoraBoundaryError, ModelError

# what transformers raises for names, configs, weights and arguments that it cannot use
_UNUSABLE = (
    *(OSError, ValueError, TypeError, ImportError, KeyError, RuntimeError),
    *(SafetensorError, StrictDataclassError, pickle.UnpicklingError),
)

USED = "_lora_boundary_merged"  # attribute of a model whose weights an adapter is merged into


def load_config(pretrained: str, revision: str | None, *, trust_remote_code: bool) -> Any:
    """Return the config of a base model.

    Args:
        pretrained: Hub id or local folder.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        ModelError: It cannot be loaded, or an adapter comes with it.
    """
    with loading_base(pretrained):
        refuse_adapter_folder(pretrained, revision or "main")
        return transformers.AutoConfig.from_pretrained(
            pretrained, revision=revision or "main", trust_remote_code=trust_remote_code
        )


def empty_model(config: Any, *, trust_remote_code: bool = False) -> Any:
    """Return a causal language model on the meta device: all modules, no values.

    Args:
        config: Its config, which is left as it is.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        ModelError: It is no causal language model, or cannot be built.
    """
    with loading_base(getattr(config, "_name_or_path", "")), torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            copy.deepcopy(config), trust_remote_code=trust_remote_code
        )


def weightless(model: nn.Module) -> bool:
    """Tell whether a model has no weights at all, and not only some that are offloaded."""
    return all(parameter.is_meta for parameter in model.parameters())


@contextmanager
def loading_base(pretrained: str) -> Iterator[None]:
    """Turn what goes wrong while a base model is loaded into one line.

    Raises:
        ModelError: It cannot be loaded.
    """
    try:
        yield
    except LoraBoundaryError:
        raise
    except _UNUSABLE as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
            raise  # a bug, not an argument that the model does not have
        first, _, rest = str(error).strip().partition("\n")
        reason = f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first
        raise ModelError(
            f"pretrained={pretrained} cannot be loaded ({type(error).__name__}: {reason}); check "
            "the name, your access, its files and the model arguments"
        ) from error


def refuse_adapter_folder(
    pretrained: str, revision: str | None, subfolder: str = "", *, takes_adapter: bool = True
) -> None:
    """Refuse a base model that is an adapter, or has one beside its checkpoint.

    transformers would load the adapter without a word, and every number would be another model's.

    Args:
        pretrained: Hub id or local folder. Of a local folder, the hub is not asked.
        revision: Branch, tag or commit on the hub.
        subfolder: Folder of the model inside.
        takes_adapter: Whether the user can give an adapter beside the base model.

    Raises:
        ModelError: There is an adapter.
    """
    # transformers looks in the subfolder, too, but not only there
    for folder in dict.fromkeys(("", subfolder or "")):
        found = find_adapter_config_file(pretrained, revision=revision, subfolder=folder)
        if found is not None:
            break
    else:
        return
    named = _named_base(Path(found), pretrained)
    base = named or "BASE"
    remedy = (
        f"give pretrained={base},peft={pretrained}" if takes_adapter else f"give pretrained={base}"
    )
    if named is None:
        remedy += ", where BASE is the model that the adapter was trained on"
    if not Path(pretrained).is_dir() or not _holds_model(Path(found).parent):
        raise ModelError(
            f"pretrained={pretrained} is an adapter ({Path(found).name}); expected a base model: "
            f"{remedy}"
        )
    raise ModelError(
        f"pretrained={pretrained} holds an adapter ({Path(found).name}) beside its checkpoint, and "
        f"transformers would load both; expected a base model alone: {remedy}. To use the "
        "checkpoint without the adapter, move the adapter_* files out of the folder."
    )


def _named_base(config: Path, pretrained: str) -> str | None:
    """Return the base model that an adapter's config names, if it is another one."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    usable = isinstance(base, str) and base and base.isprintable() and base != pretrained
    return base if usable else None


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or any(folder.glob("*.gguf"))


def loaded_model(pretrained: Any) -> PreTrainedModel | None:
    """Return the model that was passed instead of a name, or None if it is a name.

    Raises:
        ModelError: A model was passed that is not transformers' own, such as one in PEFT.
    """
    if isinstance(pretrained, PreTrainedModel):
        return pretrained
    if isinstance(pretrained, nn.Module):
        raise ModelError(
            f"a {type(pretrained).__name__} was passed as pretrained; expected a name, a folder, "
            "or a transformers model without an adapter. Pass the base model, and the adapter's "
            "folder as peft."
        )
    return None


def refuse_loaded_adapter(model: nn.Module, pretrained: str) -> None:
    """Refuse a model that was just loaded by name and carries an adapter all the same.

    Raises:
        ModelError: It does.
    """
    if _adapted(model):
        raise ModelError(
            f"transformers loaded an adapter with pretrained={pretrained}; expected a base model "
            "alone. Leave out the argument that names the adapter (adapter_kwargs), and give the "
            "adapter as peft=."
        )


def refuse_adapted(model: PreTrainedModel) -> None:
    """Refuse a loaded model that carries an adapter, or has one merged into it.

    Raises:
        ModelError: It does.
    """
    if _adapted(model) or getattr(model, USED, False):
        raise ModelError(
            "the model that was passed has been used with an adapter, which changed it in place; "
            "pass a fresh one, such as copy.deepcopy(base)"
        )


def _adapted(model: nn.Module) -> bool:
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())
