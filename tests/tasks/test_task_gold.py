"""The variants that score the gold answer: its log-likelihood after the prompt of the task."""

from __future__ import annotations

import pytest
from task_helpers import ScriptedLM, evaluate, load_task

PAIRS = [f"wmt23_{pair}" for pair in ("en-de", "zh-en", "en-zh", "ja-en", "en-ja")]
CASES = [
    *((name, {}) for name in ("hotpotqa", "samsum", "json", "wmt23_de-en")),
    *(pytest.param(name, {}, marks=pytest.mark.slow) for name in PAIRS),  # like de-en
    *((name, {"num_fewshot": 2}) for name in ("gsm8k", "wmt23_de-en")),
    *((name, {"apply_chat_template": True}) for name in ("gsm8k", "wmt23_de-en")),
]


class ScoringLM(ScriptedLM):
    """Scores a text by its length, and notes what it was asked for."""

    def __init__(self):
        super().__init__(lambda doc: "an answer")
        self.scored = []

    def loglikelihood(self, requests, disable_tqdm=False):
        self.scored += [request.args for request in requests]
        return [(-float(len(request.args[1])), False) for request in requests]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_gold_answer_follows_the_prompt_of_the_task(made_up, name, options):
    if name.endswith("-ja"):
        pytest.importorskip("MeCab")
    model = ScoringLM()
    evaluate(model, f"lora_boundary_{name}", **options)
    results = evaluate(model, f"lora_boundary_{name}_gold", **options)
    assert [context for context, _ in model.scored] == model.prompts

    task = load_task(f"lora_boundary_{name}")
    golds = [gold for _, gold in model.scored]
    # in a chat, the answer begins the assistant's turn
    space = "" if "apply_chat_template" in options else " "
    assert golds == [f"{space}{task.doc_to_target(doc)}" for doc in task.test_docs()]
    assert len(set(golds)) > 1
    mean = sum(-len(gold) for gold in golds) / len(golds)
    values = results["results"][f"lora_boundary_{name}_gold"]
    assert values["loglikelihood,none"] == pytest.approx(mean, rel=1e-12)
