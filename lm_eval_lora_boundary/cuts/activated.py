"""Activated LoRA: adapters that work from a sequence of tokens in the prompt on.

PEFT looks for the sequence in the model's own ``forward`` and ``generate``, in what it is given,
padding included. In the layers alone, nothing ever activates the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import calculate_alora_offsets

from ..errors import AdapterError

_BEFORE = 3  # tokens before the sequence in a trial


def invocation(config: LoraConfig) -> list[int]:
    """Return the tokens that activate an adapter; none if it always works."""
    return list(getattr(config, "alora_invocation_tokens", None) or ())


def special_tokens(config: LoraConfig) -> list[int]:
    """Return tokens that an adapter treats unlike others: a trial without them shows little."""
    trained = config.trainable_token_indices or []
    if isinstance(trained, dict):
        trained = [token for tokens in trained.values() for token in tokens]
    return [*invocation(config), *trained]


def filler(config: LoraConfig) -> int:
    """Return a token for padding on the right that activates nothing."""
    # a sequence that is found in the padding, or reaches into it, ends with padding
    return 1 if invocation(config)[-1:] == [0] else 0


def offsets(model: PeftModel, tokens: torch.Tensor, mask: torch.Tensor) -> list[int | None]:
    """Return where the adapter becomes active in each row, as PEFT's ``alora_offsets``.

    Args:
        model: The model.
        tokens: Token ids, padded on the left, shape (batch, seq).
        mask: 0 for padding, of the same shape; the sequence is not looked for there.
    """
    found: list[int | None] = []
    for row, real in zip(tokens, mask.bool(), strict=True):
        prompt = row[real].unsqueeze(0)
        found += calculate_alora_offsets(model.peft_config, model.active_adapter, prompt)
    return found


def on_head(model: Any, config: LoraConfig) -> bool:
    """Tell whether an activated adapter changes the output head.

    The head must then see whole sequences, since the adapter is active in a part of each.
    """
    return bool(invocation(config)) and isinstance(model.get_output_embeddings(), LoraLayer)


def refuse_never_active(model: PeftModel) -> None:
    """Refuse an activated adapter that PEFT would not activate in this model.

    Raises:
        AdapterError: It would not, since it does not know the adapter's task or the architecture.
    """
    (config,) = model.peft_config.values()
    sequence = invocation(config)
    base: Any = model.get_base_model()
    if not sequence or next(base.parameters()).is_meta:
        return
    rows = base.get_input_embeddings().weight.shape[0]
    if not all(0 <= token < rows for token in sequence):
        raise AdapterError(
            f"alora_invocation_tokens={sequence} are not all tokens of this base model, which has "
            f"{rows}; check that adapter and base belong together"
        )
    if not _seen(model, sequence):
        raise AdapterError(
            f"PEFT never activates this adapter (alora_invocation_tokens) in {type(base).__name__} "
            f"with task_type={config.task_type}, so that it would score as the base model; "
            "expected task_type CAUSAL_LM in adapter_config.json and an architecture that PEFT "
            "supports"
        )


def _seen(model: PeftModel, sequence: Sequence[int]) -> bool:
    """Tell whether layers learn from PEFT where the sequence is."""
    given: list[Any] = []

    def note(_: Any, __: Any, kwargs: dict[str, Any], ___: Any) -> None:
        given.append(kwargs.get("alora_offsets"))

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    other = 1 if sequence[0] == 0 else 0
    tokens = torch.tensor([[other] * _BEFORE + [*sequence]], device=_device(model))
    try:
        with torch.no_grad():
            model(input_ids=tokens)
    finally:
        for handle in handles:
            handle.remove()
    return [len(sequence)] in given


def _device(model: PeftModel) -> torch.device:
    embedding: Any = model.get_base_model().get_input_embeddings()
    # an offloaded embedding has no device of its own while it rests
    hook = getattr(embedding, "_hf_hook", None)
    device: torch.device = getattr(hook, "execution_device", None) or embedding.weight.device
    return device
