"""The exact text of every prompt: zero-shot, two-shot, and with a chat template."""

from __future__ import annotations

import pytest
from sacrebleu.dataset import DATASETS
from task_helpers import ScriptedLM, load_task, load_utils

from lm_eval_lora_boundary.upstream.lm_eval import directions

WMT23_PAIRS = sorted(DATASETS["wmt23"].langpairs)

# by task: the prompt of the first test document, then prompt and target of two training documents
LITERAL = {
    "lora_boundary_hotpotqa": (
        "[House 0] House 0 is red. It is old.\n[Paint] Paint dries.\n\n"
        "Question: What colour is house 0 of validation?\nAnswer:",
        (
            "[House 4] House 4 is black. It is old.\n[Paint] Paint dries.\n\n"
            "Question: What colour is house 4 of train?\nAnswer:",
            "yes",
        ),
        (
            "[House 5] House 5 is white. It is old.\n[Paint] Paint dries.\n\n"
            "Question: What colour is house 5 of train?\nAnswer:",
            "no",
        ),
    ),
    "lora_boundary_gsm8k": (
        "Question: In test, Ann has 0 pears and gets 1,000 more. How many now?\nAnswer:",
        (
            "Question: In train, Ann has 4 pears and gets 1,000 more. How many now?\nAnswer:",
            "She has 4+1000=<<4+1000=1004>>1004 pears.\n#### 1,004",
        ),
        (
            "Question: In train, Ann has 5 pears and gets 1,000 more. How many now?\nAnswer:",
            "She has 5+1000=<<5+1000=1005>>1005 pears.\n#### 1,005",
        ),
    ),
    "lora_boundary_samsum": (
        "Dialogue:\nAnn: Are you in test 0?\nBob: Yes, running late\nAnn: Hurry!\n\nSummary:",
        (
            "Dialogue:\nAnn: Are you in train 0?\nBob: Yes, running late\nAnn: Hurry!\n\nSummary:",
            "Bob is in train 0. He runs late and Ann hurries him.",
        ),
        (
            "Dialogue:\nAnn: Are you in train 1?\nBob: Yes, running late\nAnn: Hurry!\n\nSummary:",
            "Bob is in train 1. He runs late and Ann hurries him.",
        ),
    ),
    "lora_boundary_wmt23_de-en": (
        "Translate the following text from German to English.\n"
        "German: wmt23 source 0.0 de\nEnglish:",
        (
            "Translate the following text from German to English.\n"
            "German: wmt22 source 0.0 de\nEnglish:",
            "wmt22 en text 0.0",
        ),
        (
            "Translate the following text from German to English.\n"
            "German: wmt22 source 0.1 de\nEnglish:",
            "wmt22 en text 0.1",
        ),
    ),
}


def prompt(task, num_fewshot=0, **chat):
    return task.fewshot_context(task.test_docs()[0], num_fewshot=num_fewshot, **chat)


@pytest.mark.parametrize("name", LITERAL)
def test_prompt(made_up, monkeypatch, name):
    task = load_task(name)
    query, first, second = LITERAL[name]
    assert prompt(task) == query

    train = task.training_docs()
    monkeypatch.setattr(task.sampler, "sample", lambda n, eval_doc=None: [train[0], train[1]][:n])
    shots = "".join(f"{text} {target}\n\n" for text, target in (first, second))
    assert prompt(task, 2) == shots + query

    chat = {"apply_chat_template": True, "chat_template": ScriptedLM(None).apply_chat_template}
    assert prompt(task, **chat) == f"<user>{query}</><assistant>"
    assert prompt(task, 2, **chat) == f"<user>{shots}{query}</><assistant>"
    turns = "".join(f"<user>{text}</><assistant>{target}</>" for text, target in (first, second))
    assert (
        prompt(task, 2, fewshot_as_multiturn=True, **chat) == f"{turns}<user>{query}</><assistant>"
    )


@pytest.mark.parametrize("langpair", WMT23_PAIRS)
def test_prompts_of_every_wmt23_pair(made_up, langpair):
    languages = load_utils("wmt23").LANGUAGES
    source, target = (languages[code] for code in langpair.split("-"))
    task = load_task(f"lora_boundary_wmt23_{langpair}")
    head = f"Translate the following text from {source} to {target}.\n{source}: "
    assert prompt(task).startswith(head + "wmt23 source ")
    assert prompt(task).endswith(f" {langpair[:2]}\n{target}:")
    assert task.doc_to_target(task.test_docs()[0]).startswith(f"wmt23 {langpair[3:]} text ")

    task.set_fewshot_seed(1)
    tests = set(task.test_docs()["source"])
    blocks = prompt(task, 2).split("\n\n")
    shots = [block.split("\n")[1].removeprefix(f"{source}: ") for block in blocks[:2]]
    assert len(blocks) == 3
    assert blocks[2] == prompt(task)
    assert tests.isdisjoint(shots)

    names = {"zh": "bleu_zh", "ja": "bleu_ja"}
    assert task.aggregation()["bleu"].__name__ == names.get(langpair[3:], "bleu")
    counts = task.process_results({"reference": "a b"}, ["a bc"])["length_ratio"]
    assert counts == (1.5 if langpair[3:] in names else 1)


@pytest.mark.parametrize("name", LITERAL)
def test_generation_options(made_up, name):
    task = load_task(name)
    config = task.config
    assert config.num_fewshot is None  # lm-eval does not let users override 0
    assert config.metadata["version"] == task.VERSION == 1.1
    assert not config.generation_kwargs["do_sample"]
    expected = {
        "hotpotqa": (["\n"], 32),
        "gsm8k": (["Question:", "</s>", "<|im_end|>"], 256),
        "samsum": (["\n\n", "Dialogue:"], 128),
        "wmt23_de-en": (["\n"], 1024),
    }[name.removeprefix("lora_boundary_")]
    assert (config.generation_kwargs["until"], config.generation_kwargs["max_gen_toks"]) == expected
    assert directions(task)["length_ratio"] is None
