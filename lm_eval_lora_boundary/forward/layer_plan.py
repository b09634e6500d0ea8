"""What the modules of a layer need to know about its rows in a pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..errors import ModelError
from .rows import Indices, Rows

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class LayerPlan:
    """What the modules of a layer need to know about its rows in the next pass.

    Attributes:
        indices: The row below that enters each row, and the text of each row; None for all in
            order.
        strengths: The strength of each row with LoRA, shape (with_lora,); None if all are equal.
        tokens: Number of tokens in each row, set when the layer is entered.
    """

    def __init__(self, rows: Rows, layer: int, per_text: Mapping[str, int]) -> None:
        """Look a layer up.

        Args:
            rows: The rows of all layers.
            layer: The layer.
            per_text: How many items of an argument of the layer belong to each text, by name, where
                that is known; 0 for none. Otherwise, tensors with one item per text have rows.
        """
        self._per_text = per_text
        here = rows.layers[layer]
        self._rows = len(here.first)
        self._with_lora = here.with_lora
        self._texts = int(rows.texts.max()) + 1
        self.tokens = 0
        below = len(rows.layers[layer - 1].first) if layer else self._texts
        self.indices = [_unless_all(rows.entries(layer), below)]
        self.indices += [_unless_all(rows.texts_of(layer), self._texts)]
        self._of_rows = rows.strengths_of(layer)
        several = len(set(self._of_rows.tolist())) > 1
        self.strengths = torch.from_numpy(self._of_rows) if several else None
        self._strength = 1.0 if several or not len(self._of_rows) else float(self._of_rows[0])
        self._factors: dict[tuple[float, torch.dtype], torch.Tensor] = {}

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments of the layer for its own rows."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.tokens = hidden.shape[1]
        entries, texts = self.indices
        if entries is not None:
            hidden = hidden.index_select(0, entries.to(hidden.device))
        if texts is not None:
            texts = texts.to(hidden.device)
            kwargs = {
                name: self._gathered(value, texts, self._per_text.get(name))
                for name, value in kwargs.items()
            }
            args = (*args[:1], *(self._gathered(value, texts) for value in args[1:]))
        return ((hidden, *args[1:]), kwargs) if args else ((), kwargs | {"hidden_states": hidden})

    def _gathered(self, value: Any, texts: torch.Tensor, items: int | None = None) -> Any:
        """Gather what has rows per text, such as masks, position embeddings and biases."""
        if isinstance(value, torch.Tensor):
            if items is None:
                items = int(value.ndim > 1 and value.shape[0] == self._texts)
            if items > 1:
                by_text = value.view(self._texts, items, *value.shape[1:])
                return by_text.index_select(0, texts).flatten(0, 1)
            return value.index_select(0, texts) if items else value
        if isinstance(value, tuple):
            return tuple(self._gathered(item, texts) for item in value)
        return value

    def slice(self, inputs: torch.Tensor) -> int:
        """Return how many of a module's first inputs run with LoRA.

        Raises:
            ModelError: The inputs are neither rows nor the tokens of all rows in order.
        """
        return self._with_lora * self._each(inputs)

    def _each(self, inputs: torch.Tensor) -> int:
        """Return how many of the inputs belong to each row."""
        if inputs.shape[0] == self._rows and (inputs.ndim > 2 or self.tokens == 1):
            return 1
        if inputs.ndim == 2 and inputs.shape[0] == self._rows * self.tokens:
            return self.tokens
        raise ModelError(
            f"a module with LoRA was given a tensor of shape {tuple(inputs.shape)}, in which the "
            f"{self._rows} rows of {self.tokens} tokens cannot be told apart; use --engine toggle"
        )

    def factor(self, scaling: float, update: torch.Tensor) -> float | torch.Tensor:
        """Return what PEFT's scaling becomes for the rows with LoRA.

        Args:
            scaling: PEFT's scaling of a module.
            update: The module's output without scaling, of the rows with LoRA.

        Returns:
            A number if all rows have the same strength, else a tensor that broadcasts.
        """
        if self.strengths is None:
            return scaling if self._strength == 1 else scaling * self._strength
        # the precision in which torch multiplies a tensor by a Python number
        dtype = torch.promote_types(update.dtype, torch.float32)
        if (scaling, dtype) not in self._factors:
            self._factors[scaling, dtype] = (self.strengths * scaling).to(dtype)
        factors = self._factors[scaling, dtype].to(update.device)
        if update.shape[0] != self._with_lora:
            factors = factors.repeat_interleave(self.tokens)
        return factors.view(-1, *[1] * (update.ndim - 1))

    def copies(self, inputs: torch.Tensor, experts: int) -> int:
        """Return how often a module is given all rows, one copy after the other.

        Args:
            inputs: Its inputs.
            experts: Their number, each of which may have a copy; 1 if the module has no experts.

        Raises:
            ModelError: The inputs are neither rows nor the tokens of all rows in order.
        """
        if inputs.ndim == 2 and len(inputs) == experts * self._rows * self.tokens:
            return experts
        self._each(inputs)
        return 1

    def by_row(self, tensor: torch.Tensor, copies: int, rows: int | None = None) -> torch.Tensor:
        """Return a view of a tensor, of shape (copies, rows, inputs of a row, …).

        Args:
            tensor: What a module takes or returns, shape (copies * rows * inputs of a row, …).
            copies: Number of copies of all rows.
            rows: Number of rows; by default, all.

        Raises:
            ModelError: The tensor has neither one item for every row nor one for every token.
        """
        rows = self._rows if rows is None else rows
        for each in {1, self.tokens}:
            if tensor.ndim and len(tensor) == copies * rows * each:
                return tensor.contiguous().view(copies, rows, each, *tensor.shape[1:])
        raise ModelError(
            f"a module with LoRA takes or returns a tensor of shape {tuple(tensor.shape)} for "
            f"{rows} rows of {self.tokens} tokens, so it cannot run on some rows of a batch; use "
            "--engine toggle"
        )

    @cached_property
    def parts(self) -> list[Part]:
        """The rows of each strength, as far as there are any; together they are all rows."""
        strengths, number = np.unique(self._of_rows, return_inverse=True)
        parts = [
            Part(float(strength), np.flatnonzero(number == which))
            for which, strength in enumerate(strengths)
        ]
        if self._with_lora < self._rows:
            parts.append(Part(0.0, np.arange(self._with_lora, self._rows)))
        return parts


class Part:
    """The rows of one strength.

    Attributes:
        strength: The strength; 0 for rows without LoRA.
        rows: Number of rows.
    """

    def __init__(self, strength: float, rows: Indices) -> None:
        """Take ascending numbers of rows, at least one."""
        self.strength = strength
        self.rows = len(rows)
        first, last = int(rows[0]), int(rows[-1])
        together = last - first + 1 == self.rows
        self._slice = slice(first, last + 1) if together else None
        self._index = torch.from_numpy(rows)

    def where(self, device: torch.device) -> slice | torch.Tensor:
        """Return the rows, in a form that indexes a tensor on a device."""
        if self._slice is not None:
            return self._slice
        self._index = self._index.to(device)  # once
        return self._index


def _unless_all(indices: Indices, below: int) -> torch.Tensor | None:
    """Return indices as a tensor; None if they take all of ``below`` rows in order."""
    if np.array_equal(indices, np.arange(below)):
        return None
    return torch.from_numpy(indices)
