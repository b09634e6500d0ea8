"""Notes about the base model, its revision and precision, and when they stay silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from provenance_made import (
    AWQ,
    BASE,
    COMMIT,
    OTHER_COMMIT,
    OURS,
    PACKED,
    STOPS,
    TRAINED,
    USED,
    made,
)

from lm_eval_lora_boundary.harness.provenance.facts import (
    COMMANDS,
    LM_EVAL,
    Asked,
    InUse,
    OwnTokenizer,
    Template,
    Token,
    Trained,
)
from lm_eval_lora_boundary.harness.provenance.notes import KINDS, Found, notes, same_as_base


def test_an_evaluation_as_in_training_has_no_notes() -> None:
    assert notes(Found(TRAINED, USED, Asked(), LM_EVAL)) == []
    assert notes(Found(Trained("ADAPTER"), InUse(), Asked(), LM_EVAL)) == []  # nothing is known


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
