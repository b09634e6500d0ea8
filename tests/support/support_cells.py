"""The cells of the matrix: each runs the package and says what came out, in a few words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import peft
import torch
from model_helpers import requests
from support_by_hand import (
    CONTEXT,
    TOKENS,
    UNABLE,
    Trained,
    log_probabilities,
    logits,
    read_out,
)
from support_reasons import reason
from sweep_helpers import Answering, close
from tiny_models import LAYERS, tiny_tokenizer

from lm_eval_lora_boundary import LoraBoundaryLM, export
from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import find_engines
from lm_eval_lora_boundary.sweeps.progress import Progress
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.reader import Reader
from lm_eval_lora_boundary.upstream.lm_eval import request

MIDDLE, TOP = 1, LAYERS - 1
EVERY = range(-1, LAYERS)
COLUMNS = ("-1", "K", "N-1", "merge", "fork", "trace", "export")
EXACT = "exact"
ANSWER = [11, 12, 13]
# A readout and the logits of a whole text are products of other shapes, which round differently.
READOUT = 1e-5
# W + BA is rounded before it meets the input.
ROUNDING = 1e-3


@dataclass
class Row:
    """A trained adapter whose cells are computed.

    Attributes:
        trained: The adapter.
        folder: Where files may be written.
    """

    trained: Trained
    folder: Path

    def cells(self) -> dict[str, str]:
        """Return the text of every cell, by column."""
        try:
            logits(self._whole)
        except UNABLE as error:
            return dict.fromkeys(COLUMNS, self._not_run(error))
        columns: dict[str, Callable[[], str]] = {
            "-1": lambda: self._exact(-1, self.trained.base_model),
            "K": lambda: self._exact(MIDDLE, lambda: self._cut),
            "N-1": lambda: self._exact(TOP, lambda: self._whole),
            "merge": self._merge,
            "fork": self._fork,
            "trace": self._trace,
            "export": self._export,
        }
        return {column: _or_refused(columns[column]) for column in COLUMNS}

    @cached_property
    def _whole(self) -> Any:
        return self.trained.whole()

    @cached_property
    def _cut(self) -> Any:
        return self.trained.cut(MIDDLE)

    @cached_property
    def _dtype(self) -> str:
        return str(self.trained.dtype).removeprefix("torch.")

    def _arguments(self) -> dict[str, Any]:
        return {
            "pretrained": str(self.trained.base),
            "peft": str(self.trained.adapter),
            # transformers would load a different kind of tokenizer for some families
            "tokenizer": tiny_tokenizer(),
            "device": "cpu",
            "dtype": self._dtype,
        }

    def _lm(self, boundary: int, **settings: Any) -> Any:
        return LoraBoundaryLM(**self._arguments(), boundary=boundary, batch_size=1, **settings)

    def _not_run(self, error: Exception) -> str:
        """Return what the package says of an adapter that PEFT does not run."""
        try:
            self._lm(TOP)
        except LoraBoundaryError as ours:
            if "PEFT cannot load" not in str(ours):
                return f"refused: {reason(ours)}"
        return f"not run by PEFT: {reason(error)}"

    def _exact(self, boundary: int, by_hand: Callable[[], Any]) -> str:
        """Compare logits, and the log-likelihood of a text after its first token.

        Then the head reads as many states as in a call of the model, and rounds as there.
        """
        lm, expected = self._lm(boundary), by_hand()
        assert torch.equal(lm._model_call(TOKENS), logits(expected))
        first, *rest = CONTEXT
        words = " ".join(f"w{token - 4}" for token in rest)
        asked = request("loglikelihood", (f"w{first - 4}", f" {words}"), 0)
        ((ours, _),) = lm.loglikelihood([asked], disable_tqdm=True)
        assert ours == float(log_probabilities(expected, [first], rest).sum())
        return EXACT

    def _merge(self) -> str:
        """Compare with PEFT's own merge of the modules that the cut keeps."""
        ours = self._lm(MIDDLE, merge=True)._model_call(TOKENS)
        assert torch.equal(ours, logits(self.trained.merged(MIDDLE)))
        if self.trained.dtype != torch.bfloat16:  # which rounds weights far more
            torch.testing.assert_close(ours, logits(self._cut), rtol=ROUNDING, atol=ROUNDING)
        return EXACT

    def _fork(self) -> str:
        """Compare the shared forward with one cut after another, and these with a run each."""
        lm = SweepLM(**self._arguments())
        found = find_engines(lm, "auto")
        ours = self._answers(lm, found, "found")
        if found.name == "fork":
            theirs = self._answers(lm, find_engines(lm, "toggle"), "toggle")
            assert len(ours) == len(theirs) and all(map(self._same, ours, theirs))
        alone = self._lm(MIDDLE).loglikelihood(requests("loglikelihood"), disable_tqdm=True)
        at_middle = len(alone) * (MIDDLE + 1)
        assert all(map(self._same, ours[at_middle:], alone))
        return EXACT if found.name == "fork" else f"{found.name}: {reason(found.reason)}"

    def _same(self, ours: Any, theirs: Any) -> bool:
        """Compare answers as the tests of engines do."""
        if self.trained.dtype != torch.bfloat16:
            return close(ours, theirs)
        # near ties can be decided either way
        return isinstance(ours, str) or close(ours[0], theirs[0], 0.1)

    def _answers(self, lm: SweepLM, engines: Any, name: str) -> list[Any]:
        """Return log-likelihoods under every boundary, then responses."""
        with closing(AnswerStore(self.folder / name)) as store:
            scheduler = Scheduler(engines, store, "test", 24, Progress())
            answering = Answering(lm, engines, scheduler, list(EVERY))
            return [
                answer
                for kind in ("loglikelihood", "generate_until")
                for boundary in EVERY
                for answer in answering.at(boundary, requests(kind))
            ]

    def _trace(self) -> str:
        """Compare readouts with the model's own, and with those of a model without upper layers."""
        lm = TraceLM(**self._arguments())
        document = Gold(0, "", CONTEXT, ANSWER)
        reader = Reader(lm)
        reader.check([document])
        for boundary, model in ((TOP, self._whole), (MIDDLE, self._cut)):
            lm.cut.move(boundary)
            (reading,) = reader.read([document], 1)
            for layer in EVERY[1:]:
                theirs = read_out(model, lm.cut.stack.path, layer, CONTEXT, ANSWER)
                ours = torch.tensor(reading.logprob[layer])
                torch.testing.assert_close(ours, theirs, rtol=READOUT, atol=READOUT)
        return EXACT

    def _export(self) -> str:
        """Load what was written with PEFT alone."""
        output = self.folder / "exported"
        export(
            str(self.trained.base),
            self.trained.adapter,
            MIDDLE,
            output,
            dtype=self._dtype,
            device="cpu",
            model_args={"tokenizer": tiny_tokenizer()},
        )
        written = peft.PeftModel.from_pretrained(self.trained.base_model(), output).eval()
        assert torch.equal(logits(written), logits(self._cut))
        return EXACT


def _or_refused(compute: Callable[[], str]) -> str:
    try:
        return compute()
    except LoraBoundaryError as error:
        return f"refused: {reason(error)}"
