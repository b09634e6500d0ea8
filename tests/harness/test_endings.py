"""Where a response ends, compared with lm-eval's own criteria."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ending_helpers import EOS, OTHER_EOS, Forgetful, spelling_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.models.utils_hf import stop_sequences_criteria
from tiny_models import VOCABULARY

from lm_eval_lora_boundary.harness.endings import Ending, ending_difference


@settings(deadline=None, max_examples=200)
@given(
    response=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20),
    until=st.lists(st.text("abqs /<>\n", max_size=4) | st.sampled_from([EOS, OTHER_EOS])),
)
def test_stop_strings_work_as_lm_evals_own_criteria(response: list[int], until: list[str]) -> None:
    tokenizer = spelling_tokenizer()
    criteria = stop_sequences_criteria(tokenizer, until, 0, 1)
    lengths = range(1, len(response) + 1)
    theirs = [n for n in lengths if criteria(torch.tensor([response[:n]]), None).item()]
    ours = Ending((), tuple(until), len(response) + 1, tokenizer).end(response)
    assert ours == (theirs[0] if theirs else len(response))


class WithoutEndOfText(Ending):
    """Ignores end-of-text tokens."""

    def reached(self, response: Any) -> bool:
        return Ending((), self.strings, self.limit, self.tokenizer).reached(response)


class Endless(Ending):
    """Has no limit."""

    def reached(self, response: Any) -> bool:
        return Ending(self.tokens, self.strings, 10**9, self.tokenizer).reached(response)


class WholeTokens(Ending):
    """Ends only where a stop string is a whole token."""

    def reached(self, response: Any) -> bool:
        strings = [s for s in self.strings if self.tokenizer.decode(response[-1:]) == s]
        return Ending(self.tokens, strings, self.limit, self.tokenizer).reached(response)


@pytest.mark.parametrize("wrong", [Forgetful, WithoutEndOfText, Endless, WholeTokens])
def test_the_trial_notices_a_different_rule(wrong: type[Ending]) -> None:
    tokenizer = spelling_tokenizer()
    until = ("", "q") if wrong is Forgetful else ("bab", EOS)
    assert ending_difference(Ending({2, 4}, until, 16, tokenizer), [2, 4]) == ""
    assert "hf does after" in ending_difference(wrong({2, 4}, until, 16, tokenizer), [2, 4])
