"""Compare what an inference engine computes with an exported cut with what PEFT computes.

An engine may load an adapter and ignore it, or lay out some of it differently, without any error.
Only its numbers show that: the log-probabilities of made-up prompts, with and without the adapter.
The engine itself is in a room above, which hands in an :class:`Engine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import OutputError

# What engines and transformers may differ by on the same checkpoint, in natural logarithms.
# Measured with vLLM 0.32 on CPU (docs/verify.md): 1e-5 in float32, 0.02 in float16 and 0.3 in
# bfloat16, whose steps between 8 and 16, where logits are, are 1/16. Engines use other kernels on
# other devices, so this allows several times as much; wrong weights differ by whole units.
_LIMITS = {"float32": 1e-3, "float16": 0.25, "bfloat16": 1.0}
# The adapter's own sums add rounding errors, so with it the engine may differ this many times as
# much as without it …
_TIMES = 5
# … and this many rounding errors of the adapter's effect.
_ROUNDINGS = 16
# To tell an adapter that is ignored from one that is not, the effect must be so many times what
# the engine differs by without any adapter: if it is ignored, the difference is at least
# (_TELLING - 1) / _TELLING of the effect, and half of the effect is never allowed.
_TELLING = 4


@dataclass(frozen=True)
class Served:
    """What an engine is to load.

    Attributes:
        model: Base model or merged checkpoint: hub id, or folder.
        dtype: Precision, such as ``float32``.
        loading: ``revision`` and ``trust_remote_code``, if they were given.
        adapter: Folder of the adapter; None for a merged checkpoint.
        rank: ``max_lora_rank`` that the adapter needs, or 0.
    """

    model: str
    dtype: str
    loading: dict[str, Any]
    adapter: str | None = None
    rank: int = 0


class Engine(Protocol):
    """An inference engine, such as :class:`.VllmEngine`."""

    name: str

    def check(self) -> None:
        """Raise a LoraBoundaryError if the engine cannot be used here."""

    def version(self) -> str:
        """Return the engine's package and version."""

    def log_probabilities(self, served: Served, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Return the log-probability of every prompt token but the first.

        Args:
            served: What to load.
            tokens: Prompts, ``(batch, seq)``.

        Returns:
            Tensors ``(batch, seq - 1)`` in float64: without the adapter, and with it if there is
            one.

        Raises:
            OutputError: The engine cannot load or run it.
        """


def log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of every prompt token but the first.

    Args:
        logits: ``(batch, seq, vocab)``.
        tokens: ``(batch, seq)``.

    Returns:
        ``(batch, seq - 1)``, in float64.
    """
    shares = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    return shares.gather(-1, tokens[:, 1:, None]).squeeze(-1).double()


@dataclass(frozen=True)
class Comparison:
    """Log-probabilities ``(batch, seq - 1)`` of the same prompts, by PEFT and by an engine.

    Attributes:
        engine: Name of the engine.
        dtype: Precision of both.
        peft: With the cut, by PEFT (or transformers, for a merged checkpoint).
        found: With the cut, by the engine.
        peft_base: Without the adapter; None for a merged checkpoint.
        found_base: The same by the engine.
        hint: What the adapter has that engines are known to read differently, a sentence, or "".
    """

    engine: str
    dtype: str
    peft: torch.Tensor
    found: torch.Tensor
    peft_base: torch.Tensor | None = None
    found_base: torch.Tensor | None = None
    hint: str = ""

    def check(self) -> dict[str, Any]:
        """Check that the engine computes the cut, and return the facts about it.

        Raises:
            OutputError: It does not, or the cut is too weak to tell.
        """
        limit = _LIMITS.get(self.dtype, _LIMITS["bfloat16"])
        if self.peft_base is None or self.found_base is None:
            if _largest(self.found - self.peft) > limit:
                self._fail(
                    f"{self._where(self.found, self.peft)}, more than {limit:g}. It computes the "
                    "merged checkpoint differently from transformers, whatever the cut is"
                )
            return self._facts()
        if _largest(self.found_base - self.peft_base) > limit:
            self._fail(
                f"already without the adapter, {self._where(self.found_base, self.peft_base)}, "
                f"more than {limit:g}. It computes the base model itself differently: other "
                "weights (another revision, quantisation), or an architecture that it reads "
                "differently"
            )
        precision = getattr(torch, self.dtype, torch.bfloat16)
        noise = max(_largest(self.found_base - self.peft_base), 4 * torch.finfo(precision).eps)
        effect = _largest(self.peft - self.peft_base)
        allowed = _TIMES * noise + _ROUNDINGS * torch.finfo(precision).eps * effect
        telling = effect >= _TELLING * noise
        if telling:
            allowed = min(allowed, effect / 2)
        if _largest(self.found - self.peft) > allowed:
            self._fail(
                f"with the adapter, {self._where(self.found, self.peft)}; without it by up to "
                f"{noise:.2g}. {self._cause(allowed)}"
            )
        if not telling:
            self._fail(
                f"whether {self.engine} uses the adapter cannot be told: the cut changes "
                f"log-probabilities by up to {effect:.2g}, and {self.engine} differs by up to "
                f"{noise:.2g} without it ({self.dtype}). Verify in a finer precision "
                "(--dtype float32), or leave out --verify"
            )
        return self._facts() | {"effect": effect, "allowed_difference": allowed}

    def _facts(self) -> dict[str, Any]:
        facts = {"dtype": self.dtype, "largest_difference": _largest(self.found - self.peft)}
        if self.peft_base is not None and self.found_base is not None:
            facts["base_difference"] = _largest(self.found_base - self.peft_base)
        return facts

    def _cause(self, allowed: float) -> str:
        """Return the likely cause of a difference that only the adapter brings, a sentence."""
        assert self.found_base is not None
        if _largest(self.found - self.found_base) <= allowed:
            return f"These are the base model's numbers: {self.engine} ignored the adapter"
        if self.hint:
            return self.hint
        return f"{self.engine} applied a part of the adapter only, or scaled it differently"

    def _where(self, found: torch.Tensor, expected: torch.Tensor) -> str:
        """Return the largest difference and its place."""
        difference = _size(found - expected)
        prompt, token = divmod(int(difference.argmax()), difference.shape[1])
        return (
            f"{self.engine}'s log-probabilities differ by up to {float(difference.max()):.3g} from "
            f"PEFT's (prompt {prompt + 1}, token {token + 2}: {float(found[prompt, token]):.4g} "
            f"instead of {float(expected[prompt, token]):.4g})"
        )

    def _fail(self, reason: str) -> None:
        raise OutputError(f"nothing was written: {reason}")


def _size(difference: torch.Tensor) -> torch.Tensor:
    """Return absolute differences, where a NaN is larger than any number."""
    return difference.abs().nan_to_num(nan=torch.inf, posinf=torch.inf)


def _largest(difference: torch.Tensor) -> float:
    return float(_size(difference).max())
