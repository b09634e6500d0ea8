"""What is read from an adapter's folder, from tokenizers, configs and requests."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from lm_eval.api.instance import Instance
from model_helpers import make
from tiny_models import VOCABULARY, tiny_tokenizer

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.harness import processes
from lm_eval_lora_boundary.harness.model_args import AskedCut
from lm_eval_lora_boundary.harness.provenance.facts import (
    OwnTokenizer,
    Stops,
    Template,
    Token,
    Trained,
)
from lm_eval_lora_boundary.harness.provenance.folder import compared, template_of, trained
from lm_eval_lora_boundary.harness.provenance.in_use import in_use, stops, weight_bits
from lm_eval_lora_boundary.upstream.lm_eval import request

CHAT = "{% for m in messages %}w4 {{ m.content }} {% endfor %}w5"


def read(folder: Path, adapter: Path, **files: Any) -> Trained:
    """Return what a copy of an adapter says with these files beside it."""
    folder.mkdir()
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    asked = AskedCut(open_adapter(folder), str(folder), None, None, None, False, None)
    return trained(asked, tiny_tokenizer(), {}, trust_remote_code=False)


def test_an_adapter_alone_says_what_its_config_names(tiny: Any, tmp_path: Path) -> None:
    _, adapter = tiny()
    config = json.loads((adapter / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": "org/base", "revision": "dev"}
    found = read(tmp_path / "a", adapter, adapter_config__json=config)
    assert found == Trained(str(tmp_path / "a"), "org/base", "dev")
    for name in ("", "a\nb"):
        config |= {"base_model_name_or_path": name, "revision": None}
        found = read(tmp_path / f"{len(name)}b", adapter, adapter_config__json=config)
        assert (found.base, found.revision) == (None, None)


@pytest.mark.parametrize(
    ("content", "chat", "ending"),
    [
        ({"settings": {"apply_chat_template": True}, "task": {"ending": [5, 2]}}, True, "</s>"),
        ({"settings": {"apply_chat_template": False}, "task": {"ending": [2]}}, False, "</s>"),
        ({"settings": {"apply_chat_template": "x"}, "task": {"ending": []}}, None, None),
        ({"settings": [], "task": None}, None, None),
        ({"task": {"ending": [VOCABULARY]}}, None, None),  # another vocabulary
        ({"task": {"ending": [True]}}, None, None),
        ({"loss": 1.0}, None, None),  # of another program
        ([], None, None),
        ("{", None, None),
    ],
)
def test_the_record_of_training(
    tiny: Any, tmp_path: Path, content: Any, chat: Any, ending: Any
) -> None:
    found = read(tmp_path / "a", tiny()[1], training__json=content)
    assert found.chat is chat
    assert found.ending == (None if ending is None else Token(2, ending))


def test_a_template_without_a_tokenizer_cannot_be_used(tiny: Any, tmp_path: Path) -> None:
    found = read(tmp_path / "a", tiny()[1], chat_template__jinja=CHAT)
    assert found.template is found.tokenizer is None


def test_a_tokenizer_that_cannot_be_loaded_is_not_known(tiny: Any, tmp_path: Path) -> None:
    found = read(tmp_path / "a", tiny()[1], tokenizer_config__json={"tokenizer_class": "Nothing"})
    assert found.tokenizer is None


def test_a_tokenizer_of_its_own_is_compared(tiny: Any, tmp_path: Path) -> None:
    _, adapter = tiny()
    own = tiny_tokenizer()
    own.chat_template = CHAT
    own.add_special_tokens({"eos_token": "<|im_end|>"})
    own.save_pretrained(tmp_path / "own")
    files = {
        file.name.replace(".", "__"): file.read_text() for file in (tmp_path / "own").iterdir()
    }
    found = read(tmp_path / "a", adapter, **files)
    eos = Token(None, "<|im_end|>")
    assert found.tokenizer == OwnTokenizer(missing=("<|im_end|>",), eos=eos)
    assert found.template == Template(CHAT, "w4 Hello w4 Hi w4 Bye w5")


def renamed(**words: str) -> Any:
    """Return the tiny tokenizer with other words at some places."""
    content = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {words.get(word, word): i for word, i in vocabulary.items()}
    special = {"eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    raw = tokenizers.Tokenizer.from_str(json.dumps(content))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **special)


def test_tokens_that_are_missing_or_moved() -> None:
    same = Token(2, "</s>")
    ours = tiny_tokenizer()
    assert compared(tiny_tokenizer(), ours) == OwnTokenizer(eos=same)
    assert compared(renamed(w8="tool"), ours) == OwnTokenizer(missing=("tool",), eos=same)
    assert compared(renamed(w8="w9", w9="w8"), ours) == OwnTokenizer(moved=("w9", "w8"), eos=same)


def test_tokens_that_do_not_matter() -> None:
    own, ours = tiny_tokenizer(), tiny_tokenizer()
    own.add_special_tokens({"pad_token": "[PAD]"})  # as many training scripts do
    assert compared(own, ours) == OwnTokenizer(eos=Token(2, "</s>"))
    ours.add_tokens(["<extra>"])  # the adapter's lacks it, so it can be in no prompt it knows
    assert compared(own, ours) == OwnTokenizer(eos=Token(2, "</s>"))


def test_a_tokenizer_that_splits_differently() -> None:
    class Characters:
        """The same vocabulary, by another rule."""

        pad_token = eos_token = None

        def get_vocab(self) -> dict[str, int]:
            return dict(tiny_tokenizer().get_vocab())

        def encode(self, text: str, **_: Any) -> list[int]:
            return [ord(letter) for letter in text]

    assert compared(Characters(), tiny_tokenizer()) == OwnTokenizer(splits_differ=True)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, None),
        ("", None),
        ({"tool_use": CHAT}, None),
        ({"default": CHAT, "tool_use": "x"}, Template(CHAT, "w4 Hello w4 Hi w4 Bye w5")),
        ("{{ raise_exception('no') }}", Template("{{ raise_exception('no') }}")),
        ("{{ word }}", Template("{{ word }}", "w6")),
    ],
)
def test_the_template_that_is_used(source: Any, expected: Any) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = source
    assert template_of(tokenizer, {"word": "w6"}) == expected


@pytest.mark.parametrize(
    ("stored", "dtype", "expected"),
    [
        (None, torch.bfloat16, 16),
        (None, torch.float32, 32),
        (None, torch.float8_e4m3fn, None),
        (None, "auto", None),
        (transformers.BitsAndBytesConfig(load_in_4bit=True), torch.bfloat16, 4),
        (transformers.BitsAndBytesConfig(load_in_8bit=True), torch.bfloat16, 8),
        (transformers.BitsAndBytesConfig(), torch.bfloat16, None),
        (transformers.GPTQConfig(bits=4), torch.float16, 4),
        ({"quant_method": "awq", "bits": 4}, torch.float16, 4),
        ({"quant_method": "gptq", "bits": 3}, torch.float16, None),
        ({"quant_method": "mxfp4"}, torch.bfloat16, None),
    ],
)
def test_the_precision_of_the_weights(stored: Any, dtype: Any, expected: Any) -> None:
    config = SimpleNamespace(**({} if stored is None else {"quantization_config": stored}))
    assert weight_bits(config, dtype) == expected


def test_a_local_model_has_the_names_in_its_config(tmp_path: Path) -> None:
    config = SimpleNamespace(_name_or_path="org/base", _commit_hash="abc")
    for content, origins in (('{"_name_or_path": "org/base"}', ("org/base",)), ("{", ())):
        (tmp_path / "config.json").write_text(content)
        found = in_use(str(tmp_path), "main", config, torch.float32)
        assert (found.base, found.origins, found.revision) == (str(tmp_path), origins, None)
        assert (found.bits, found.precision) == (32, "float32")
    named = in_use("org/base", "main", config, torch.float32)
    assert (named.base, named.origins, named.revision, named.commit) == (
        *("org/base", (), "main", "abc"),
    )
    by_name = in_use("org/base", "main", config, "float16")
    assert (by_name.bits, by_name.precision) == (16, "float16")
    config.dtype = torch.bfloat16
    assert in_use("org/base", "main", config, "auto").precision == "bfloat16"
    loaded = in_use(object(), "main", config, torch.float32)
    assert (loaded.base, loaded.revision) == ("org/base", None)
    unknown = SimpleNamespace(_name_or_path="")
    assert in_use(object(), "main", unknown, torch.float32).base is None
    assert in_use("org/base", None, config, torch.float32, unpacked=True).bits is None


def generation(**arguments: Any) -> Instance:
    return request("generate_until", ("w5", arguments), 0)


def test_what_ends_responses() -> None:
    tokenizer, listed = tiny_tokenizer(), ["w9"]
    requests = [generation(until=listed), generation(until=["w9"]), generation(until="w8")]
    requests += [generation(), generation(eos_token_id=7), generation(eos_token_id=[8, 2])]
    end, all_ends = (Token(2, "</s>"),), (Token(8, "w4"), Token(2, "</s>"))
    assert stops(requests, [2], tokenizer) == [
        Stops(end, ("w9", "</s>")),
        Stops(end, ("w8", "</s>")),
        Stops(end, ("</s>",)),
        Stops((Token(7, "w3"),), ("</s>",)),
        Stops(all_ends, ("</s>",)),
    ]
    assert listed == ["w9"]  # lm-eval's function adds to it


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        ("generate_until", ("w0 w1", {"max_gen_toks": 4}), [4, 5]),
        ("generate_until", ("<s> w0", {"max_gen_toks": 4}), [1, 4]),
        ("generate_until", (" ".join(["w0"] * 30 + ["w1"]), {"max_gen_toks": 4}), [4] * 8),
        # what does not fit is cut from the left
        ("generate_until", ("w9 " * 30 + "w0 w1", {"max_gen_toks": 126}), [4, 5]),
        ("generate_until", ("w0 w1", {"max_gen_toks": 128}), [4, 5]),  # vLLM writes less then
        ("loglikelihood", ("w0 w1 ", "w2"), [4, 5]),
        ("loglikelihood", ("", "w2"), [1]),
        ("loglikelihood", ("w9 " * 130 + "w0", " w2" * 127), [13, 4]),
        ("loglikelihood_rolling", ("w0 w1",), [1, 4, 5]),
        ("loglikelihood_rolling", ("",), [1]),
    ],
)
def test_the_tokens_that_are_read_first(
    tiny: Any, kind: Any, arguments: Any, expected: list[int]
) -> None:
    lm = make(*tiny(), max_length=128)
    lm.see([request(kind, arguments, 0)])
    (text,) = [note["text"] for note in lm.notes if note["kind"] == "prompt"]
    shown = [int(part.split()[0]) for part in text.partition(" with ")[2].split(", ")]
    assert shown == expected


@pytest.mark.parametrize("chats", [True, False])
def test_rows_that_are_chats_need_other_rows_where_the_training_had_no_template(
    tiny: Any, tmp_path: Path, chats: bool
) -> None:
    base, adapter = tiny()
    adapter = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    (adapter / "training.json").write_text('{"settings": {"apply_chat_template": false}}')
    lm = make(base, adapter)
    lm.tokenizer.chat_template = "{% for each in messages %}{{ each.content }} {% endfor %}"
    turns = [{"role": "user", "content": "w0 w1"}]
    prompt = lm.apply_chat_template(turns)
    doc = {"messages": turns} if chats else {"prompt": "w0 w1"}
    lm.see([replace(generation(), doc=doc, arguments=(prompt, {"until": ["w9"]}))])
    (text,) = [note["text"] for note in lm.notes if note["kind"] == "chat_template"]
    assert text.startswith("training.json says that the adapter was trained without")
    assert ("use rows with prompt and response" in text) == chats
    assert ("leave out --apply_chat_template" in text) == (not chats)


def test_only_the_first_of_several_processes_prints(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lm = make(*tiny())
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        monkeypatch.setattr(processes, "rank", lambda: 1)
        lm.see([generation(until=["w9"])])
        assert "note:" not in caplog.text
        monkeypatch.setattr(processes, "rank", lambda: 0)
        for _ in range(2):
            lm.see([generation(until=["w9"])])
        assert caplog.text.count("note: the first prompt begins with 9") == 1


def test_without_an_adapter_there_are_no_notes(tiny: Any) -> None:
    lm = make(tiny()[0])
    lm.see([generation(until=["w9"])])
    assert lm.notes == [] and "notes" not in lm.get_model_info()
