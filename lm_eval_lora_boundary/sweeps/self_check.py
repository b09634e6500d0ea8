"""What the engines make of a few made-up tokens, before anything is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peft.tuners.lora import LoraLayer

from ..cuts.activated import special_tokens
from ..errors import LoraBoundaryError, ModelError
from ..forward.fork import Fork
from ..forward.loglikelihood import plain_score, scores_agree
from ..forward.requests import Answers, Generate, Score
from ..harness.sweep_model import SweepModel
from .toggle import Toggle

if TYPE_CHECKING:
    from ..forward.fork import Fork
    from ..harness.sweep_model import SweepModel
    from .toggle import Toggle


_SPECIAL = 32  # tokens that the adapter treats unlike others


class Trial:
    """Compares engines with each other, and with PEFT's own model.

    Engines share code, and so could share a fault. PEFT's model, called as anyone calls it, shares
    nothing with them.
    """

    def __init__(self, lm: SweepModel, toggle: Toggle) -> None:
        """Compare ``toggle``, the last resort, with PEFT.

        Args:
            lm: The model, at the full adapter.
            toggle: The engine.

        Raises:
            ModelError: They differ, so that no engine could be trusted.
        """
        self._lm = lm
        top = lm.layers - 1
        self._boundaries = sorted({-1, top // 2, top})
        vocabulary = len(lm.tokenizer)
        special = special_tokens(lm.adapter.config)[:_SPECIAL]
        made_up = [(7 * i + 3) % vocabulary for i in range(12)]
        self._tokens = [*made_up[:3], *(t for t in special if t < vocabulary), *made_up[3:]]
        room = max(1, lm.max_length - 1)  # what does not fit would be cut from the left
        self._requests = [
            Score(tuple(self._tokens[:end][-room:]), tuple(self._tokens[end : end + 2]))
            for end in (3, len(self._tokens) - 3)
        ]
        answer = toggle.prepare(self._requests, self._boundaries)
        self._expected = answer(self._requests)
        self._whole = self._of_peft()
        if reason := self._differs(self._expected, {top: self._whole}):
            raise ModelError(
                f"{type(lm.cut.model.get_base_model()).__name__} cannot be swept with this "
                f"adapter: {reason}, which is what PEFT's own model says"
            )

    def _of_peft(self) -> list[float]:
        """Return what PEFT's own model says when it is called, at the full adapter."""
        lm = self._lm
        with lm.precision():
            return [
                plain_score(
                    lm.cut.model, each.context, each.continuation, lm.device, lm.softmax_dtype
                )
                for each in self._requests
            ]

    def difference(self, fork: Fork) -> str:
        """Return what is wrong with ``fork``, or ""."""
        try:
            prompt = Generate(tuple(self._tokens), (), 3, "{}", "", "")
            fork.prepare([prompt], self._boundaries)([prompt])
            ours = fork.prepare(self._requests, self._boundaries)(self._requests)
        except LoraBoundaryError as error:
            return str(error)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # an architecture that nobody has tried: what it cannot do shows here and nowhere else
            return f"this architecture cannot fork ({type(error).__name__}: {str(error)[:200]})"
        expected = {
            boundary: [_score(answers, boundary) for answers in self._expected]
            for boundary in self._boundaries
        }
        reason = self._differs(ours, expected | {self._boundaries[-1]: self._whole})
        return f"{reason} with this architecture" if reason else ""

    def _differs(self, found: Sequence[Answers], expected: dict[int, list[float]]) -> str:
        for boundary, scores in expected.items():
            for answers, score in zip(found, scores, strict=True):
                ours = _score(answers, boundary)
                if not scores_agree(ours, score, self._lm.model.dtype):
                    return (
                        f"a trial at boundary {boundary} scored {ours:.4f} instead of {score:.4f}"
                    )
        return ""


def _score(answers: Answers, boundary: int) -> float:
    answer = answers[boundary]
    assert not isinstance(answer, str)
    return answer[0]


def _obstacle(lm: SweepModel) -> str:
    """Return what keeps rows of different boundaries from sharing a pass, or ""."""
    for module in lm.cut.modules:
        if lm.cut.stack.layer_of(module.name) is None:
            return f"the adapter changes {module.name}, outside of the decoder layers"
        if module.overwrite is not None or lm.cut.overwrites_base:
            return f"the adapter overwrites tensors of the base model ({module.name})"
        if not isinstance(module.adapted, LoraLayer):
            return f"{module.name} is a {type(module.adapted).__name__}, not a LoRA layer"
        if module.adapted.lora_variant:
            variant = next(iter(module.adapted.lora_variant.values()))
            return f"{module.name} is a variant of LoRA ({type(variant).__name__})"
    return ""


def try_fork(lm: SweepModel, trial: Trial) -> tuple[Fork | None, str]:
    """Return the shared forward; or None, and why it cannot be used."""
    if reason := _obstacle(lm):
        return None, reason
    base = lm.cut.model.get_base_model()
    layers = base.get_submodule(lm.cut.stack.path)
    try:
        fork = Fork(lm, base, list(layers))
    except ModelError as error:
        return None, str(error)
    reason = trial.difference(fork)
    return (None, reason) if reason else (fork, "")
