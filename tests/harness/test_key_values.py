"""Options such as k=v,… are read as on lm-eval's own command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval._cli.harness import HarnessCLI
from tiny_tasks import write_tasks

from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.harness.key_values import read_key_values

TEXTS = [
    'until=["g"]',
    'until=["g","o"]',
    "until=['g', 'o'],max_gen_toks=5",
    'until=["a,b=c",")"],temperature=0.5,do_sample=True',
    '{"tokenizer":"T"}',
    '{"chat_template_args":{"enable_thinking":false},"n":1}',
    "until=[/INST]",
    "until= ",
    "until=\n",
    'until="[",x=(1,2)',
    "a=None,b=none,c=-1,d=1e3,e='1',f=0x10,g=,h=x=y",
    "revision=1.0,trust_remote_code=true",
    "a=1,a=2",
]
WRONG = [
    "until",
    "5",
    "[1]",
    " ",
    '{"a":1',
    'chat_template_args={"enable_thinking":false}',
    "a={b}",
]


def read_by_lm_eval(*texts: str) -> dict[str, Any]:
    arguments = ["run", "--tasks", "t"]
    for text in texts:
        arguments += ["--gen_kwargs", text]
    found = HarnessCLI()._parser.parse_args(arguments).gen_kwargs
    return dict(found or {})


def reads(text: str) -> bool:
    """Return whether lm-eval's own command line reads a text; 0.5 does not split lists right."""
    try:
        read_by_lm_eval(text)
    except (ValueError, SystemExit):
        return False
    return True


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_read_as_in_lm_eval(text: str) -> None:
    if reads(text):
        assert read_key_values(text, "--gen-kwargs") == read_by_lm_eval(text)
    else:
        assert "[" in text  # all others are read by every release
        with pytest.raises(LoraBoundaryError, match="brackets or braces may need the JSON form"):
            read_key_values(text, "--gen-kwargs")


def test_a_repeated_option_is_merged() -> None:
    texts = ['until=["g"],a=1', "a=2", '{"b":3}']
    expected = {"until": ["g"], "a": 2, "b": 3}
    assert read_key_values(texts, "--gen-kwargs") == read_by_lm_eval(*texts) == expected


@settings(max_examples=200, deadline=None)
@given(st.text("ab=,[]()'\"1.{}: ", min_size=1, max_size=12))
def test_any_text_is_read_or_refused_as_in_lm_eval(text: str) -> None:
    try:
        expected: Any = read_by_lm_eval(text)
    except (ValueError, SystemExit):
        expected = None
    try:
        found: Any = read_key_values(text, "--gen-kwargs")
    except LoraBoundaryError as error:
        assert "\n" not in str(error)
        found = None
    assert found == expected


@pytest.mark.parametrize("text", WRONG)
def test_what_lm_eval_cannot_read_is_refused(text: str) -> None:
    with pytest.raises((ValueError, SystemExit)):
        read_by_lm_eval(text)
    with pytest.raises(LoraBoundaryError, match="expected k=v,… or a JSON object"):
        read_key_values(text, "--model-args")


def test_mappings_are_copied_and_empty_options_are_empty() -> None:
    given = {"until": ["g"]}
    assert read_key_values(given, "gen_kwargs") == given
    assert read_key_values(given, "gen_kwargs") is not given
    assert read_key_values(None, "x") == read_key_values("", "x") == read_key_values([], "x") == {}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("sweep", "--tasks", "t", "--peft", "a", "--output", "o"), "--gen-kwargs"),
        (("sweep", "--tasks", "t", "--peft", "a", "--output", "o"), "--model-args"),
        (("trace", "--tasks", "t", "--peft", "a", "--output", "o"), "--model-args"),
        (("train", "--task", "t", "--output", "o"), "--model-args"),
        (("export", "o", "--peft", "a", "--boundary", "1"), "--model-args"),
    ],
    ids=str,
)
def test_every_command_refuses_bad_text_in_one_line(
    command: tuple[str, ...], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command_line(*command, "--pretrained", "b", option, 'x={"y":false}')
    (line,) = (line for line in done.err.splitlines() if "error" in line)
    assert done.code == 2
    assert line.startswith(f"lora-boundary: error: {option} ")


def test_a_list_of_stop_strings_ends_the_responses_of_a_sweep(
    tiny: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    base, adapter = tiny()
    (tmp_path / "tasks").mkdir()
    tasks = write_tasks(tmp_path / "tasks")

    def sweep(name: str, *options: str) -> list[Any]:
        done = command_line(
            *("sweep", "--pretrained", str(base), "--peft", str(adapter), "--tasks", "tiny_words"),
            *("--include-path", str(tasks), "--output", str(tmp_path / name), "--device", "cpu"),
            *("--dtype", "float32", "--boundaries", "3", "--no-confirm", *options),
        )
        assert done.code == 0, done.err
        (samples,) = (tmp_path / name / "boundary=3").glob("samples_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
        arguments = rows[0]["arguments"]["gen_args_0"]["arg_1"]
        assert arguments["until"] == stops if options else arguments["until"] == ["w9"]
        return [row["resps"][0][0] for row in rows]

    whole = sweep("whole")
    words = [word for text in whole for word in text.split()]
    stops = [words[1], words[-1]]
    listed = ",".join(json.dumps(stop) for stop in stops)
    plain = f"until=[{listed}]"
    ended = sweep("ended", "--gen-kwargs", plain if reads(plain) else f'{{"until": [{listed}]}}')
    assert ended != whole
    assert not any(stop in text for text in ended for stop in stops)
