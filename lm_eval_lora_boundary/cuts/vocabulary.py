"""Grow the vocabulary of a base model to that of an adapter, and never shrink it.

lm-eval's ``hf`` resizes the embeddings to the tokenizer whenever an adapter is given. That cuts
padded vocabularies, and fills new rows with noise. Here an embedding grows only if the adapter's
file has more rows for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import AdapterError
from .adapter_folder import AdapterFolder


def embeddings(model: Any) -> list[Any]:
    """Return the input embeddings and the output head, if the model names them."""
    return [m for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m]


def growing(model: Any, adapter: AdapterFolder) -> list[tuple[str, Any, int]]:
    """Return the embeddings that the adapter makes grow: path, module, new number of rows.

    Raises:
        AdapterError: The adapter has fewer rows than the model.
    """
    whole = adapter.whole_tensors()
    names = {module: name for name, module in model.named_modules()}
    rows_of: dict[int, int] = {}  # by parameter: tied embeddings grow together
    for module in embeddings(model):
        name = names[module]
        shapes = {
            0: whole.get(f"{name}.weight") or adapter.shapes.get(f"{name}.lora_B.weight"),
            1: adapter.shapes.get(f"{name}.lora_embedding_A"),
        }
        for axis, shape in shapes.items():
            if shape is not None:
                rows_of.setdefault(id(module.weight), shape[axis])
    result = []
    for module in embeddings(model):
        current = module.weight.shape[0]
        rows = rows_of.get(id(module.weight), current)
        if rows < current:
            raise AdapterError(
                f"{adapter.path} was made for another vocabulary: its embeddings have {rows} "
                f"rows, this base model has {current}. Use the base model it was trained on; the "
                "vocabulary is never shrunk to fit."
            )
        if rows > current:
            result.append((names[module], module, rows))
    return result


def grow(model: Any, adapter: AdapterFolder) -> None:
    """Give embeddings as many rows as the adapter's tensors for them have.

    The file must overwrite the new rows. Untrained rows would add noise to every softmax.

    Raises:
        AdapterError: The file has no tensor for the new rows.
    """
    whole = adapter.whole_tensors()
    larger = growing(model, adapter)
    trained = {id(module.weight) for name, module, _ in larger if f"{name}.weight" in whole}
    grown: dict[int, nn.Parameter] = {}
    for name, module, rows in larger:
        weight: Any = module.weight
        if id(weight) not in trained:
            raise AdapterError(
                f"{adapter.path} was trained with {rows} tokens, this base model has "
                f"{weight.shape[0]}, and the file holds no {name}.weight for the new ones; save "
                "the adapter with save_embedding_layers=True"
            )
        if getattr(module, "bias", None) is not None:
            raise AdapterError(
                f"{name} has a bias and cannot grow to {rows} rows; resize the base model first"
            )
        if id(weight) not in grown:
            new = weight.new_zeros(rows - weight.shape[0], weight.shape[1])
            grown[id(weight)] = nn.Parameter(torch.cat([weight.detach(), new]), requires_grad=False)
        module.weight = grown[id(weight)]
        size = "num_embeddings" if hasattr(module, "num_embeddings") else "out_features"
        setattr(module, size, rows)
    if larger:
        model.config.get_text_config().vocab_size = max(rows for _, _, rows in larger)


def refuse_tokens_without_rows(model: Any, tokens: int, cut: object) -> None:
    """Refuse a tokenizer of this many tokens if a cut drops the embeddings of some.

    Raises:
        AdapterError: An embedding has fewer rows than the tokenizer has tokens.
    """
    rows = [module.weight.shape[0] for module in embeddings(model)]
    if tokens > min(rows):
        raise AdapterError(
            f"the tokenizer has {tokens} tokens, but with {cut} the input embeddings "
            f"have {rows[0]} rows and the output head {rows[-1]}, since those of the adapter's "
            "new tokens are dropped. Use the base model's tokenizer, or a cut that keeps them."
        )
