"""Notes about tokens, chat templates, endings and prompts, and when they stay silent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from provenance_made import END, OTHER_END, OURS, STOPS, THEIRS, made

from lm_eval_lora_boundary.harness.provenance.facts import (
    COMMANDS,
    OwnTokenizer,
    Stops,
    Template,
    Token,
)


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"missing": ("<a>", "<b>")}, 'has tokens that the one in use lacks ("<a>", "<b>")'),
        ({"missing": tuple("abcdef")}, '("a", "b", "c", "d" and 2 more)'),
        ({"moved": ("\n",)}, 'gives other ids than the one in use to some tokens ("\\n")'),
        ({"splits_differ": True}, "splits a text into other tokens than the one in use"),
    ],
)
def test_another_tokenizer(own: dict[str, Any], what: str) -> None:
    text = made("tokenizer", trained={"tokenizer": OwnTokenizer(**own)})
    assert text is not None and what in text
    assert text.endswith("to use it, add tokenizer=ADAPTER to --model_args")


@pytest.mark.parametrize("own", [None, OwnTokenizer(), OwnTokenizer(eos=OTHER_END)])
def test_silent_about_the_tokenizer(own: Any) -> None:
    assert made("tokenizer", trained={"tokenizer": own}) is None


@pytest.mark.parametrize(
    ("trained", "used", "chat", "what", "remedy"),
    [
        ({"chat": False}, OURS, True, "trained without", "leave out --apply-chat-template"),
        ({"chat": True}, None, False, "trained with", "add --apply-chat-template"),
        ({}, OURS, False, "the base model's tokenizer has", "add --apply-chat-template"),
        ({"template": OURS}, OURS, False, "the adapter's tokenizer", "add --apply-chat-template"),
        ({"template": OURS}, None, False, "the adapter's", "template, and tokenizer=ADAPTER to"),
        ({"template": THEIRS}, OURS, False, "the adapter's", "template, and tokenizer=ADAPTER to"),
        ({"template": THEIRS}, OURS, True, '"<s>[INST] Hello" where', "tokenizer=ADAPTER to"),
    ],
)
def test_another_chat_template(
    trained: dict[str, Any], used: Any, chat: bool, what: str, remedy: str
) -> None:
    asked = {"chat": chat}
    text = made(
        "chat_template", trained=trained, used={"template": used}, asked=asked, spelling=COMMANDS
    )
    assert text is not None and what in text and remedy in text


@pytest.mark.parametrize(
    ("from_chats", "remedy"),
    [
        (False, "leave out --apply-chat-template"),
        (True, "use rows with prompt and response, written as in the training"),
    ],
)
def test_chats_need_the_template_that_the_training_did_without(
    from_chats: bool, remedy: str
) -> None:
    asked = {"chat": True, "from_chats": from_chats}
    text = made("chat_template", trained={"chat": False}, asked=asked, spelling=COMMANDS)
    assert text is not None and text.endswith(remedy)


@pytest.mark.parametrize(
    ("trained", "used", "chat"),
    [
        ({}, None, False),
        ({}, None, True),  # lm-eval says so itself
        ({}, OURS, True),
        ({"chat": True}, OURS, True),
        ({"chat": False}, OURS, False),
        ({"chat": False, "template": THEIRS}, OURS, False),
        ({"template": OURS}, OURS, True),
        ({"template": THEIRS}, None, True),
        ({"template": Template("written differently", OURS.rendered)}, OURS, True),
        ({"template": Template("cannot be rendered")}, OURS, True),
        ({"template": THEIRS}, Template("cannot be rendered"), True),
    ],
)
def test_silent_about_the_chat_template(trained: dict[str, Any], used: Any, chat: bool) -> None:
    asked = {"chat": chat}
    assert made("chat_template", trained=trained, used={"template": used}, asked=asked) is None


def test_the_difference_of_templates_is_shown_where_it_begins() -> None:
    common = "x" * 100
    trained = {"template": Template("a", f"{common}\n<end>{common}")}
    used = {"template": Template("b", f"{common}{common}")}
    text = made("chat_template", trained=trained, used=used, asked={"chat": True})
    assert text is not None and json.dumps("x" * 30 + "\n<end>" + "x" * 24) in text
    # one is the beginning of the other
    used = {"template": Template("b", common)}
    assert made("chat_template", trained=trained, used=used, asked={"chat": True})


@pytest.mark.parametrize(
    ("trained", "what", "remedy"),
    [
        (
            {"ending": OTHER_END},
            'trained to end with 7 "<|im_end|>", which does not end them',
            'them: add "<|im_end|>" to until (--gen_kwargs)',
        ),
        (
            {"tokenizer": OwnTokenizer(eos=Token(None, "<|im_end|>"))},
            'own tokenizer ends texts with "<|im_end|>", which does not end them',
            'add tokenizer=ADAPTER to --model_args, or "<|im_end|>" to until',
        ),
    ],
)
def test_another_ending(trained: dict[str, Any], what: str, remedy: str) -> None:
    text = made("ending", trained=trained, asked={"stops": [STOPS]})
    assert text is not None and text.startswith('responses end at 2 "</s>" or "\\n\\n"; ')
    assert what in text and remedy in text
    ends = Stops((), ("<|im_end|>",))  # another task, whose responses do end there
    assert made("ending", trained=trained, asked={"stops": [ends, STOPS]}) == text


@pytest.mark.parametrize(
    ("trained", "stops"),
    [
        ({}, [STOPS]),  # nothing is known about the training
        ({"tokenizer": OwnTokenizer()}, [STOPS]),  # its tokenizer has no such token
        ({"ending": OTHER_END}, []),  # nothing is generated, or the model's tokens are not known
        ({"ending": END}, [STOPS]),
        ({"ending": OTHER_END}, [Stops((END, OTHER_END), ())]),
        ({"ending": OTHER_END}, [Stops((END,), ("<|im_end|>",))]),
        ({"ending": OTHER_END}, [Stops((), ("<|im",))]),
        ({"ending": OTHER_END}, [Stops((), ("",))]),
        ({"tokenizer": OwnTokenizer(eos=OTHER_END)}, [Stops((END, OTHER_END), ())]),
        ({"tokenizer": OwnTokenizer(eos=Token(None, "<x>"))}, [Stops((END,), ("<x>",))]),
        # training.json knows better than the tokenizer
        ({"ending": END, "tokenizer": OwnTokenizer(eos=OTHER_END)}, [STOPS]),
    ],
)
def test_silent_about_the_ending(trained: dict[str, Any], stops: Any) -> None:
    assert made("ending", trained=trained, asked={"stops": stops}) is None


def test_the_first_prompt_is_shown() -> None:
    start = (Token(1, "<s>"), Token(306, "I"), Token(13, "\n"), Token(9, '"'))
    assert made("prompt", asked={"start": start}) == (
        'the first prompt begins with 1 "<s>", 306 "I", 13 "\\n", 9 "\\""'
    )
    assert made("two_bos", asked={"start": start}) is None
    assert made("prompt") is None


def test_two_bos() -> None:
    bos, word = Token(1, "<s>"), Token(306, "I")
    text = made("two_bos", asked={"start": (bos, bos, word)})
    assert text is not None and 'two BOS tokens (1 "<s>")' in text
    assert "add_bos_token=False" in text
    for start in ((word, word, bos), (bos, word, bos), (bos,), ()):
        assert made("two_bos", asked={"start": start}) is None
    assert made("two_bos", used={"bos": None}, asked={"start": (bos, bos)}) is None
