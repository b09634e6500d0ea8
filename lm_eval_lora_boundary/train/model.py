"""The model to train: a base model as lm-eval's ``hf`` loads it, with a new LoRA adapter."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from ..cuts.boundaries import check_boundary
from ..cuts.cut import LoraCut
from ..cuts.fingerprint import config_content, json_sha256, weights_sample
from ..cuts.layers import DecoderStack, find_decoder_stack
from ..errors import AdapterError, BoundaryError, first_line
from ..harness.base_loader import DenseLM
from ..upstream.peft import BaseTunerLayer
from ..upstream.transformers import Conv1D
from .settings import ALL_LINEAR, TrainSettings


class _TrainLM(DenseLM):
    takes_adapter = False


def load_base(settings: TrainSettings) -> HFLM:
    """Load the base model and its tokenizer, as an evaluation would.

    Raises:
        BoundaryError: The boundary is out of range, or leaves nothing to train.
        ModelError: The model cannot be loaded, or is not decoder-only.
    """
    if settings.boundary == -1:
        raise BoundaryError("boundary=-1 keeps no layer, so there is nothing to train")
    arguments: dict[str, Any] = {"dtype": "float32" if settings.dtype == "float32" else "auto"}
    arguments |= {**settings.model_args, "device": settings.device}
    if settings.boundary is not None:
        arguments["check_layers"] = partial(check_boundary, settings.boundary)
    return _TrainLM(settings.pretrained, **arguments)


def base_identity(base: HFLM, settings: TrainSettings) -> dict[str, Any]:
    """Return what identifies a base model, whatever path it was loaded from."""
    return {
        "name": settings.pretrained,
        "revision": settings.model_args.get("revision"),
        "commit": getattr(base.config, "_commit_hash", None),
        "gguf_file": settings.model_args.get("gguf_file"),
        "config_sha256": json_sha256(config_content(base.config)),
        "weights_sample": weights_sample(base.model),
        "dtype": str(base.model.dtype).removeprefix("torch."),
    }


def add_lora(model: PreTrainedModel, settings: TrainSettings) -> PeftModel:
    """Add a new LoRA adapter to the layers up to the boundary.

    Raises:
        AdapterError: A target module does not exist or cannot be adapted.
    """
    stack = find_decoder_stack(model)
    last = stack.count - 1 if settings.boundary is None else settings.boundary
    targets = list(settings.target_modules)
    if targets == [ALL_LINEAR]:
        targets = _linear_names(model, stack, last)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        # PEFT applies this only to short module names, which these are
        layers_to_transform=None if settings.boundary is None else list(range(last + 1)),
        layers_pattern=None if settings.boundary is None else stack.path.rpartition(".")[2],
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        revision=settings.model_args.get("revision"),
    )
    try:
        with warnings.catch_warnings():
            # PEFT reads a property that transformers has renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise AdapterError(f"target_modules={','.join(targets)}: {first_line(error)}") from error
    _check_adapted(peft_model, targets, last)
    return peft_model


def _linear_names(model: PreTrainedModel, stack: DecoderStack, last: int) -> list[str]:
    """Return the short names of the linear modules in layers ``0..last``."""
    names = set()
    for name, module in model.named_modules():
        layer = stack.layer_of(name)
        if layer is not None and layer <= last and isinstance(module, (nn.Linear, Conv1D)):
            parent, _, short = name.rpartition(".")
            # a number alone would also match layers and experts
            names.add(f"{parent.rpartition('.')[2]}.{short}" if short.isdigit() else short)
    return sorted(names)


def _check_adapted(model: PeftModel, targets: list[str], last: int) -> None:
    adapted = LoraCut(model).modules
    deepest = max(adapted, key=lambda module: module.depth)
    if deepest.depth > last:
        raise AdapterError(
            f"boundary={last}, but {deepest.name} in layer {deepest.depth} was also adapted; name "
            "modules of the decoder layers with --target-modules"
        )
    for target in targets:  # PEFT accepts the list if any name matches
        if not any(f".{module.name}".endswith(f".{target}") for module in adapted):
            raise AdapterError(
                f"target_modules: {target} does not match any module in layers 0 to {last} of "
                f"{type(model.get_base_model()).__name__}"
            )
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise AdapterError("target_modules: TRL cannot train LoRA on the output embeddings")
