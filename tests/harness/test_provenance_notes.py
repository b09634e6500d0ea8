"""Each note, and the cases in which it stays silent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lm_eval_lora_boundary.harness.provenance.facts import (
    COMMANDS,
    LM_EVAL,
    Asked,
    InUse,
    OwnTokenizer,
    Stops,
    Template,
    Token,
    Trained,
)
from lm_eval_lora_boundary.harness.provenance.notes import KINDS, Found, notes, same_as_base

BASE = "Qwen/Qwen2.5-7B"
PACKED = "unsloth/Qwen2.5-7B-bnb-4bit"
AWQ = "Qwen/Qwen2.5-7B-AWQ"
COMMIT, OTHER_COMMIT = "0123456789abcdef" * 2 + "01234567", "f" * 40
OURS, THEIRS = Template("ours", "<s>user Hello"), Template("theirs", "<s>[INST] Hello")
END, OTHER_END = Token(2, "</s>"), Token(7, "<|im_end|>")
STOPS = Stops((END,), ("\n\n", "</s>"))
TRAINED = Trained("ADAPTER", base=BASE)
USED = InUse(base=BASE, revision="main", bits=16, precision="bfloat16", bos=1)


def made(
    kind: str,
    *,
    trained: dict[str, Any] | None = None,
    used: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    spelling: Any = LM_EVAL,
) -> str | None:
    """Return the text of a note of this kind, or None."""
    made = notes(
        Found(
            replace(TRAINED, **(trained or {})),
            replace(USED, **(used or {})),
            replace(Asked(), **(asked or {})),
            spelling,
        )
    )
    texts = {note["kind"]: note["text"] for note in made}
    assert texts.keys() <= KINDS.keys()
    return texts.get(kind)


def test_an_evaluation_as_in_training_has_no_notes() -> None:
    assert notes(Found(TRAINED, USED, Asked(), LM_EVAL)) == []
    assert notes(Found(Trained("ADAPTER"), InUse(), Asked(), LM_EVAL)) == []  # nothing is known


# --- base model and revision


def test_another_base_model() -> None:
    text = made("base_model", used={"base": "Qwen/Qwen2.5-7B-Instruct"})
    assert text is not None
    assert f"names the base model {BASE}, and Qwen/Qwen2.5-7B-Instruct is loaded" in text
    assert text.endswith(f"give pretrained={BASE}")
    text = made("base_model", used={"base": "Qwen/Qwen2.5-7B-Instruct"}, spelling=COMMANDS)
    assert text is not None and text.endswith(f"give --pretrained {BASE}")


@pytest.mark.parametrize(
    ("named", "loaded", "origins"),
    [
        (None, BASE, ()),
        (BASE, None, ()),
        (BASE, "/data/Qwen2.5-7B", ()),
        (BASE, "/data/base", ()),
        (BASE, "/data/base", (BASE,)),
    ],
)
def test_silent_about_the_base_model(named: Any, loaded: Any, origins: Any) -> None:
    used = {"base": loaded, "origins": origins}
    assert made("base_model", trained={"base": named}, used=used) is None


@pytest.mark.parametrize(
    ("named", "used", "commit"),
    [("dev", "main", None), (COMMIT, "main", OTHER_COMMIT), (COMMIT, OTHER_COMMIT, None)],
)
def test_another_revision(named: str, used: str, commit: Any) -> None:
    text = made("revision", trained={"revision": named}, used={"revision": used, "commit": commit})
    assert text is not None
    assert f"names revision {named}" in text and f"revision {used}" in text
    assert f"add revision={named} to --model_args" in text


@pytest.mark.parametrize(
    ("named", "used", "commit"),
    [
        (None, "dev", None),
        ("main", None, None),  # a local folder, or a loaded model
        ("dev", "dev", None),
        (COMMIT, "main", COMMIT),
        (COMMIT, "main", None),  # offline: main may be at that commit
        (COMMIT, COMMIT[:9], None),
        ("dev", COMMIT, COMMIT),  # the branch may have been there
    ],
)
def test_silent_about_the_revision(named: Any, used: Any, commit: Any) -> None:
    used = {"revision": used, "commit": commit}
    assert made("revision", trained={"revision": named}, used=used) is None


def test_one_note_is_enough_for_another_model_at_another_revision() -> None:
    trained, used = {"revision": "dev"}, {"base": "Qwen/Qwen2.5-7B-Instruct"}
    assert made("base_model", trained=trained, used=used)
    assert made("revision", trained=trained, used=used) is None


# --- precision


@pytest.mark.parametrize(
    ("named", "loaded", "bits", "remedy"),
    [
        (PACKED, BASE, 16, "add load_in_4bit=True to --model_args"),
        (PACKED, BASE, 32, "add load_in_4bit=True to --model_args"),
        (PACKED, BASE, 8, "add load_in_4bit=True to --model_args"),
        ("x/Qwen2.5-7B-8bit", BASE, 4, "add load_in_8bit=True to --model_args"),
        (AWQ, BASE, 16, f"give pretrained={AWQ}"),
        ("me/Qwen2.5-7B-bf16", BASE, 4, "without load_in_4bit"),
        (BASE, AWQ, 4, f"give pretrained={BASE}"),
    ],
)
def test_another_precision(named: str, loaded: str, bits: int, remedy: str) -> None:
    used = {"base": loaded, "bits": bits, "precision": f"of {bits} bits"}
    text = made("bits", trained={"base": named}, used=used)
    assert text is not None
    assert named in text and f"loaded are of {bits} bits" in text and remedy in text


@pytest.mark.parametrize(
    ("named", "loaded", "bits"),
    [
        (BASE, BASE, 16),
        (BASE, BASE, 4),  # QLoRA names the plain model, too
        (PACKED, PACKED, 4),
        (PACKED, BASE, 4),
        (PACKED, BASE, None),  # GGUF, or a kind of quantisation that is not known here
        ("me/Qwen2.5-7B-bf16", BASE, 32),
        (None, BASE, 16),
    ],
)
def test_silent_about_the_precision(named: Any, loaded: str, bits: Any) -> None:
    assert made("bits", trained={"base": named}, used={"base": loaded, "bits": bits}) is None


# --- tokenizer


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


# --- chat template


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


# --- what ends responses


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


# --- the first prompt


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


# --- all of them


def test_a_task_without_any_effect_is_named() -> None:
    assert same_as_base([]) == []
    (note,) = same_as_base(["t"])
    assert note["kind"] == "same_as_base"
    assert note["text"].startswith("on t, all answers with the adapter are those without it")


def test_notes_are_lines_in_a_fixed_order() -> None:
    trained = Trained(
        "ADAPTER",
        base=PACKED,
        tokenizer=OwnTokenizer(missing=("<\n>",), eos=Token(None, "<\n>")),
        template=Template("x", "a\nb"),
    )
    used = replace(USED, base="Qwen/Qwen2.5-7B-Instruct", template=OURS)
    bos = Token(1, "<s>\n")
    found = notes(Found(trained, used, Asked(True, (bos, bos), [STOPS]), LM_EVAL))
    kinds = [note["kind"] for note in found]
    assert kinds == [kind for kind in KINDS if kind != "revision"]
    assert all(note["text"].isprintable() for note in found)
