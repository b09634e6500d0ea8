"""Our GSM8K is lm-eval's gsm8k with a validation split and length ratios."""

from __future__ import annotations

import random
from pathlib import Path

import lm_eval
import pytest
from task_helpers import TASKS, ScriptedLM, load_task, needs_official, task_manager

THEIRS, OURS = "gsm8k", "lora_boundary_gsm8k"
LM_EVAL_GSM8K = Path(lm_eval.__file__).parent / "tasks" / "gsm8k"
FILTERS = ("strict-match", "flexible-extract")


def answer(doc):
    """Return a typical response of a model, right half of the time."""
    number = doc["answer"].rsplit("#### ", 1)[1]
    rnd = random.Random(doc["question"])
    if rnd.random() < 0.5:
        number = str(rnd.randrange(2000))
    forms = (
        " The sum is {}.\n#### {}",
        " {}",
        " So she pays ${} in 3 days.",
        "#### ${}",
        " It is {}.",
        " 7 + 8 = 15\n#### {}.",
        " I cannot tell.",
        "",
        " #### {}\n\nIn all {}",
        " {}.00",
    )
    return rnd.choice(forms).replace("{}", number)


def evaluate(limit=None):
    model = ScriptedLM(answer)
    results = lm_eval.simple_evaluate(
        model=model,
        tasks=[THEIRS, OURS],
        task_manager=task_manager(LM_EVAL_GSM8K),
        num_fewshot=0,
        limit=limit,
        bootstrap_iters=100,
    )
    return model, results


def assert_equal(model, results):
    half = len(model.prompts) // 2
    assert model.prompts[:half] == model.prompts[half:]
    theirs, ours = (results["results"][name] for name in (THEIRS, OURS))
    for name in FILTERS:
        assert ours[f"exact_match,{name}"] == theirs[f"exact_match,{name}"]
        assert ours[f"exact_match_stderr,{name}"] == theirs[f"exact_match_stderr,{name}"]
        scores = {
            task: [
                [s[key] for key in ("doc_id", "doc", "target", "filtered_resps", "exact_match")]
                for s in results["samples"][task]
                if s["filter"] == name
            ]
            for task in (THEIRS, OURS)
        }
        assert scores[OURS] == scores[THEIRS]
    assert 0 < theirs["exact_match,strict-match"] < theirs["exact_match,flexible-extract"] < 1
    metrics = {key for key in ours if "," in key and "_stderr" not in key}
    lengths = {"length_ratio,none", "length_ratio_corpus,none"}
    assert metrics == {*(f"exact_match,{name}" for name in FILTERS), *lengths}
    whole = [s for s in results["samples"][OURS] if s["filter"] == "none"]
    ratios = [len(answer(s["doc"]).split()) / len(s["target"].split()) for s in whole]
    assert ours["length_ratio,none"] == pytest.approx(sum(ratios) / len(ratios))
    assert ours["sample_len"] == theirs["sample_len"] == len(whole) == half


def test_equals_gsm8k_of_lm_eval(made_up):
    assert_equal(*evaluate())


@needs_official
def test_equals_gsm8k_of_lm_eval_on_official_rows(official):
    assert_equal(*evaluate(limit=400))


def test_few_shot_prompt_equals_gsm8k_of_lm_eval_given_the_same_examples(made_up, monkeypatch):
    theirs = task_manager(LM_EVAL_GSM8K).load(THEIRS)["tasks"][THEIRS]
    ours = load_task(OURS)
    examples = list(ours.training_docs().select(range(5)))
    for task in (theirs, ours):
        monkeypatch.setattr(task.sampler, "sample", lambda n, eval_doc=None: examples[:n])
    doc = ours.test_docs()[3]
    assert theirs.fewshot_context(doc, num_fewshot=5) == ours.fewshot_context(doc, num_fewshot=5)


def test_options_in_yaml_equal_those_of_lm_eval():
    from lm_eval.tasks._yaml_loader import load_yaml

    theirs = load_yaml(LM_EVAL_GSM8K / "gsm8k.yaml", resolve_func=False)
    ours = load_yaml(TASKS / "gsm8k" / "gsm8k.yaml", resolve_func=False)
    assert theirs["metadata"]["version"] == 3.0
    for key in ("doc_to_text", "doc_to_target", "output_type"):
        assert ours[key] == theirs[key]
    assert ours["filter_list"][:2] == theirs["filter_list"]
    assert {**theirs["generation_kwargs"], "max_gen_toks": 256} == ours["generation_kwargs"]
