"""Base models: loading them without weights, and refusing those that an adapter is already in."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils.memory import should_reduce_batch_size
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from ..errors import LoraBoundaryError, ModelError, first_line
from ..upstream.peft import BaseTunerLayer
from ..upstream.transformers import find_adapter_config_file
from .paths import refuse_adapter

# what libraries raise for names, configs, weights and arguments that they cannot use
_UNUSABLE = (
    *(OSError, ValueError, ImportError),
    *(SafetensorError, StrictDataclassError, pickle.UnpicklingError),
)
# the same, but bugs raise them as well
_AMBIGUOUS = (KeyError, RuntimeError, TypeError)
_LIBRARIES = {"transformers", "lm_eval", "vllm"}
_OURS = __name__.partition(".")[0]

USED = "_lora_boundary_merged"  # attribute of a model that has an adapter merged into its weights


def local_folder(
    argument: str,
    source: str | Path,
    revision: str | None,
    patterns: list[str],
    error: type[LoraBoundaryError],
) -> Path:
    """Return a local folder, or one with these files of a hub repository.

    Raises:
        error: The source is neither; ``argument`` is the user's name for it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError) as problem:
        raise error(
            f"{argument}={source} is neither a local folder nor a repository that can be "
            f"downloaded ({type(problem).__name__}: {first_line(problem)}); check the path, the "
            "name or your access"
        ) from problem


def load_config(
    pretrained: str,
    revision: str | None,
    *,
    trust_remote_code: bool,
    subfolder: str = "",
    **more: Any,
) -> Any:
    """Return the config of a base model, given by hub id or local folder.

    ``more`` are arguments of ``from_pretrained``, such as ``gguf_file``.

    Raises:
        ModelError: It cannot be loaded, or an adapter comes with it.
    """
    with loading_base(pretrained):
        refuse_adapter_folder(pretrained, revision or "main", subfolder)
        return transformers.AutoConfig.from_pretrained(
            pretrained,
            revision=revision or "main",
            trust_remote_code=trust_remote_code,
            subfolder=subfolder,
            **more,
        )


def empty_model(config: Any, *, trust_remote_code: bool = False) -> Any:
    """Return the causal language model of a config without weights, on the meta device.

    Raises:
        ModelError: It is not a causal language model, or cannot be built.
    """
    with loading_base(getattr(config, "_name_or_path", "")), torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            copy.deepcopy(config), trust_remote_code=trust_remote_code
        )


def weightless(model: nn.Module) -> bool:
    """Return whether a model was built without weights; those that are offloaded exist."""
    missing = any(parameter.is_meta for parameter in model.parameters())
    # accelerate brings offloaded weights back with hooks
    return missing and not any(hasattr(module, "_hf_hook") for module in model.modules())


@contextmanager
def loading_base(pretrained: str) -> Iterator[None]:
    """Turn the errors of libraries that load a base model into one line.

    Other errors, such as those of this package's own code in between, keep their traceback.

    Raises:
        ModelError: The model cannot be loaded, or does not fit into memory.
    """
    try:
        yield
    except LoraBoundaryError:
        raise
    except (*_UNUSABLE, *_AMBIGUOUS, MemoryError) as error:
        what = f"({': '.join(filter(None, (type(error).__name__, first_line(error))))})"
        if isinstance(error, MemoryError) or should_reduce_batch_size(error):
            raise ModelError(
                f"pretrained={pretrained} does not fit into memory {what}; free memory, give a "
                "smaller dtype or another device, or spread the model with parallelize=True"
            ) from error
        if not _cannot_be_used(error):
            raise
        raise ModelError(
            f"pretrained={pretrained} cannot be loaded {what}; check the name, your access, its "
            "files and the model arguments"
        ) from error


def _cannot_be_used(error: BaseException) -> bool:
    """Return whether an error is a library's way to say that it cannot use a model."""
    calls = [
        (str(frame.f_globals.get("__name__", "")).partition(".")[0], frame.f_code.co_name)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    own = max(number for number, (package, _) in enumerate(calls) if package == _OURS)
    called = calls[own + 1 :]  # by this package, down to where the error was raised
    if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
        return False
    if isinstance(error, _AMBIGUOUS):
        loading = {("transformers", "from_pretrained"), ("transformers", "from_config")}
        return any(call in loading or call[0] == "vllm" for call in called)
    return any(package in _LIBRARIES for package, _ in called)


def refuse_adapter_folder(
    pretrained: str, revision: str | None, subfolder: str = "", *, takes_adapter: bool = True
) -> None:
    """Refuse a base model that is an adapter, or has one next to its checkpoint.

    transformers would silently load the adapter, and every score would be that of another model.

    Args:
        pretrained: Hub id or local folder.
        revision: Branch, tag or commit on the hub.
        subfolder: The model's folder in the repository.
        takes_adapter: Whether the user can also give an adapter.

    Raises:
        ModelError: There is an adapter.
    """
    # transformers looks in the subfolder and at the top
    folders = dict.fromkeys(("", subfolder or ""))
    configs = (
        find_adapter_config_file(pretrained, revision=revision, subfolder=folder)
        for folder in folders
    )
    path = next((path for path in configs if path is not None), None)
    if path is None:
        return
    refuse_adapter(pretrained, Path(path), takes_adapter=takes_adapter)


def loaded_model(pretrained: Any) -> PreTrainedModel | None:
    """Return ``pretrained`` if it is a model, or None if it is a name.

    Raises:
        ModelError: It is a model, but not a transformers model (for example, one in PEFT).
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
    """Refuse a model that transformers has just loaded with an adapter.

    Raises:
        ModelError: It has an adapter.
    """
    if _adapted(model):
        raise ModelError(
            f"transformers loaded an adapter with pretrained={pretrained}; expected a base model "
            "alone. Leave out the argument that names the adapter (adapter_kwargs), and give the "
            "adapter as peft=."
        )


def refuse_adapted(model: PreTrainedModel) -> None:
    """Refuse a loaded model that has an adapter, or has one merged into it.

    Raises:
        ModelError: It has one.
    """
    if _adapted(model) or getattr(model, USED, False):
        raise ModelError(
            "the model that was passed has been used with an adapter, which changed it in place; "
            "pass a fresh one, such as copy.deepcopy(base)"
        )


def _adapted(model: nn.Module) -> bool:
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())
