"""Activated LoRA (aLoRA): adapters that start to work after a given token sequence in the prompt.

PEFT looks for the sequence in the model's own ``forward`` and ``generate``, in the whole input,
padding included. Layers that are called without that model never activate the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from peft import PeftConfig, PeftModel

from ..errors import AdapterError
from ..upstream.peft import LoraLayer, calculate_alora_offsets
from .base_model import weightless
from .layers import input_device

_BEFORE = 3  # tokens before the sequence in a trial


def invocation(config: PeftConfig) -> list[int]:
    """Return the tokens that activate an adapter, or [] if it always works."""
    return list(getattr(config, "alora_invocation_tokens", None) or ())


def special_tokens(config: PeftConfig) -> list[int]:
    """Return the tokens that an adapter treats in a special way. A trial should contain them."""
    # of LoRA with trained tokens, and of trained tokens alone
    names = ("trainable_token_indices", "token_indices")
    trained: Any = next((found for name in names if (found := getattr(config, name, None))), [])
    if isinstance(trained, dict):
        trained = [token for tokens in trained.values() for token in tokens]
    return [*invocation(config), *trained]


def filler(config: PeftConfig) -> int:
    """Return a token for padding on the right that does not activate the adapter."""
    # A sequence that lies in the padding, or reaches into it, ends with the padding token.
    return 1 if invocation(config)[-1:] == [0] else 0


def offsets(model: PeftModel, tokens: torch.Tensor, mask: torch.Tensor) -> list[int | None]:
    """Return where the adapter becomes active in each row, in the form of ``alora_offsets``.

    Tokens and mask have shape (batch, seq), padded on the left. Padding is not searched.
    """
    return [
        offset
        for row, real in zip(tokens, mask.bool(), strict=True)
        for offset in calculate_alora_offsets(
            model.peft_config, model.active_adapter, row[real].unsqueeze(0)
        )
    ]


def on_head(model: Any, config: PeftConfig) -> bool:
    """Return whether an activated adapter changes the output head.

    The head must then see whole sequences, since the adapter is active in a part of each.
    """
    return bool(invocation(config)) and isinstance(model.get_output_embeddings(), LoraLayer)


def refuse_never_active(model: PeftModel) -> None:
    """Refuse an activated adapter that PEFT would never activate in this model.

    Raises:
        AdapterError: PEFT does not support the adapter's task type or the architecture.
    """
    (config,) = model.peft_config.values()
    sequence = invocation(config)
    base: Any = model.get_base_model()
    if not sequence or weightless(base):
        return
    rows = base.get_input_embeddings().weight.shape[0]
    if not all(0 <= token < rows for token in sequence):
        raise AdapterError(
            f"alora_invocation_tokens={sequence} are not all tokens of this base model, which has "
            f"{rows}; give the base model that the adapter was trained on"
        )
    if not _activates(model, sequence):
        raise AdapterError(
            f"PEFT never activates this adapter (alora_invocation_tokens) in {type(base).__name__} "
            f"with task_type={config.task_type}, so it would score as the base model; "
            "expected task_type CAUSAL_LM in adapter_config.json and an architecture that PEFT "
            "supports"
        )


def _activates(model: PeftModel, sequence: Sequence[int]) -> bool:
    """Return whether PEFT tells the LoRA layers where the sequence is."""
    received: list[Any] = []

    def note(_: Any, __: Any, kwargs: dict[str, Any], ___: Any) -> None:
        received.append(kwargs.get("alora_offsets"))

    other = 1 if sequence[0] == 0 else 0
    device = input_device(model.get_base_model())
    tokens = torch.tensor([[other] * _BEFORE + [*sequence]], device=device)
    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraLayer):
                hooks.enter_context(module.register_forward_hook(note, with_kwargs=True))
        model(input_ids=tokens)
    return [len(sequence)] in received
