"""Try the engines on a few made-up tokens before anything is scored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ..cuts.activated import special_tokens
from ..cuts.keep import Cut
from ..cuts.kinds import LORA
from ..errors import AdapterError, LoraBoundaryError, ModelError, NotFiniteError
from ..forward.fork import Fork
from ..forward.loglikelihood import plain_score, scores_agree
from ..forward.requests import Answer, Answers, Generate, Score
from ..forward.split_model import SplitModel
from ..forward.trials import missing_ability
from ..harness.sweep_model import SweepModel
from ..upstream.peft import LoraLayer, unlike_lora
from .toggle import Toggle

_SPECIAL = 32  # tokens that the adapter treats unlike others
# What an untested architecture cannot do shows in the trial and nowhere else.
_FAILURES = (
    *(LoraBoundaryError, AttributeError, IndexError, KeyError),
    *(RuntimeError, TypeError, ValueError),
)


class Trial:
    """Compares engines with each other, and with PEFT's own model.

    Engines share code, so they could share a fault. PEFT's model, called in the ordinary way,
    shares nothing with them.
    """

    def __init__(self, lm: SweepModel, toggle: Toggle) -> None:
        """Compare ``toggle``, the engine of last resort, with PEFT.

        Raises:
            ModelError: They differ, so no engine could be trusted.
        """
        self._lm = lm
        self._cuts = _trial_cuts(lm)
        self._whole = self._cuts[0]
        with lm.cut:  # the base model may lack rows for tokens that the adapter added
            lm.cut.move(-1)
            rows = lm.cut.model.get_base_model().get_input_embeddings().weight.shape[0]
        vocabulary = min(rows, len(lm.tokenizer))
        special = special_tokens(lm.adapter.config)[:_SPECIAL]
        made_up = [(7 * i + 3) % vocabulary for i in range(12)]
        self._tokens = [*made_up[:3], *(t for t in special if t < vocabulary), *made_up[3:]]
        self._batches = self._made_up_requests()
        self._requests = [request for batch in self._batches for request in batch]
        try:
            toggled = toggle.prepare(self._requests, self._cuts)(self._requests)
        except NotFiniteError as error:
            assert isinstance(error.cut, int)
            raise ModelError(
                f"in a trial on made-up tokens with {self._cuts[error.cut]}, {error}"
            ) from error
        with lm.precision():
            whole = [
                plain_score(
                    lm.cut.model, each.context, each.continuation, lm.device, lm.softmax_dtype
                )
                for each in self._requests
            ]
        if reason := self._difference(toggled, {self._whole: whole}, "PEFT's own model"):
            raise ModelError(
                f"{type(lm.cut.model.get_base_model()).__name__} cannot be swept with this "
                f"adapter: {reason}"
            )
        self._expected = {
            cut: [_score(answers[place]) for answers in toggled]
            for place, cut in enumerate(self._cuts)
        } | {self._whole: whole}

    def _made_up_requests(self) -> list[list[Score]]:
        """Return batches of texts of different lengths.

        Continuations of the same context are read after it, from a cache: in the first batch one
        token at a time, as in a response, in the second one several.
        """
        tokens, end = self._tokens, len(self._tokens) - 3
        first = [(3, tokens[3:5]), (end, tokens[end : end + 2]), (end, tokens[:2])]
        second = [(3, tokens[4:8]), (3, tokens[6:9]), (end, tokens[-3:])]
        batches = []
        for batch in (first, second):
            scores = []
            for length, continuation in batch:
                fits = tuple(continuation[: self._lm.max_length])
                # what does not fit would be cut from the left
                room = self._lm.max_length + 1 - len(fits)
                scores.append(Score(tuple(tokens[:length][-room:]), fits))
            batches.append(scores)
        return batches

    def difference(self, fork: Fork) -> str:
        """Return what is wrong with ``fork``, or ""."""
        try:
            prompt = Generate(tuple(self._tokens), (), 3, "{}", "", "")
            fork.prepare([prompt], self._cuts)([prompt])
            answer = fork.prepare(self._requests, self._cuts)
            forked = [answers for batch in self._batches for answers in answer(batch)]
        except _FAILURES as error:
            return _cannot(error, self._lm)
        reason = self._difference(forked, self._expected, "one cut at a time")
        return f"fork does not work with this architecture: {reason}" if reason else ""

    def _difference(
        self, found: Sequence[Answers], expected: dict[Cut, list[float]], whose: str
    ) -> str:
        for cut, scores in expected.items():
            for answers, score in zip(found, scores, strict=True):
                ours = _score(answers[self._cuts.index(cut)])
                if not scores_agree(ours, score, self._lm.model.dtype):
                    return (
                        f"in a trial with {cut} it scored {ours:.4f}, but {whose} gives {score:.4f}"
                    )
        return ""


def try_fork(lm: SweepModel, trial: Trial) -> tuple[Fork | None, str]:
    """Return the shared forward and ""; or None, and why it cannot be used."""
    if reason := _obstacle(lm):
        return None, reason
    base = lm.cut.model.get_base_model()
    try:
        fork = Fork(lm, base, list(base.get_submodule(lm.cut.stack.path)))
    except _FAILURES as error:
        return None, _cannot(error, lm)
    reason = trial.difference(fork)
    return (None, reason) if reason else (fork, "")


def _cannot(error: Exception, lm: SweepModel) -> str:
    """Return why an architecture cannot fork."""
    if isinstance(error, LoraBoundaryError):
        return str(error)
    base = lm.cut.model.get_base_model()
    last = list(base.get_submodule(lm.cut.stack.path))[-1]
    with suppress(LoraBoundaryError), lm.precision():
        if reason := missing_ability(SplitModel(base), last, lm.device):
            return f"this architecture cannot fork: {reason}"
    return f"this architecture cannot fork ({type(error).__name__}: {str(error)[:200]})"


def _obstacle(lm: SweepModel) -> str:
    """Return why rows of different cuts cannot share a pass, or ""."""
    if lm.cut.kind is not LORA:
        return f"the adapter is {lm.cut.kind.name}, and only LoRA's rows can share a pass"
    for module in lm.cut.modules:
        if lm.cut.stack.layer_of(module.name) is None:
            return f"the adapter changes {module.name}, outside of the decoder layers"
    if lm.cut.overwrites_base:
        held = [module.name for module in lm.cut.modules if module.overwrite is not None]
        named = ", ".join([*held, *lm.cut.rewritten][:1])
        return f"the adapter overwrites tensors of the base model ({named or 'tied ones'})"
    for module in lm.cut.modules:
        if not isinstance(module.adapted, LoraLayer):
            return f"{module.name} is a {type(module.adapted).__name__}, not a LoRA layer"
        if (variant := unlike_lora(module.adapted)) is not None:
            return f"{module.name} is a variant of LoRA ({type(variant).__name__})"
    return ""


def _score(answer: Answer) -> float:
    assert not isinstance(answer, str)
    return answer[0]


def _trial_cuts(lm: SweepModel) -> list[Cut]:
    """Return the whole adapter, the base, and cuts whose rows part and change sides in between."""
    layers = lm.layers
    lower = Cut.up_to((layers - 1) // 2, layers)
    upper = Cut(tuple(1 - strength for strength in lower.strengths))
    whole = Cut.up_to(layers - 1, layers)
    scaled = Cut(tuple(0.5 if layer % 2 else 1.0 for layer in range(layers)))
    try:
        lm.cut.refuse_meaningless(scaled)
    except AdapterError:
        scaled = whole  # such an adapter is never scaled
    return list(dict.fromkeys([whole, lower, upper, scaled, Cut.up_to(-1, layers)]))
