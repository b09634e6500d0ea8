"""Bad arguments: one clear line with the remedy, if possible before weights are loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from command_line import lm_eval_script
from tiny_models import LAYERS

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError, LoraBoundaryError, ModelError


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("boundary", "message"),
    [
        (LAYERS, rf"boundary={LAYERS} is out of range: this model has {LAYERS} layers.*-1.*3"),
        (-2, r"boundary=-2 is out of range"),
        ("99", r"boundary=99 is out of range"),
        ("twenty", r"boundary is 'twenty'; expected an integer .* or auto"),
        (2.0, r"boundary is 2\.0; expected an integer"),
        ("2.5", r"boundary is '2\.5'"),
        ("", r"boundary is empty"),
        (True, r"boundary is True"),
        ([1], r"boundary is \[1\]"),
        ("auto", r"boundary=auto, but .* has no lora_boundary\.json; .*sweep.*boundary=K"),
    ],
)
def test_boundary(model: dict[str, Any], boundary: Any, message: str) -> None:
    with pytest.raises(BoundaryError, match=message):
        LoraBoundaryLM(boundary=boundary, **model)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("argument", [{"boundary": 2}, {"merge": True}, {"peft_revision": "main"}])
def test_without_peft(model: dict[str, Any], argument: dict[str, Any]) -> None:
    del model["peft"]
    with pytest.raises(BoundaryError, match="without peft="):
        LoraBoundaryLM(**argument, **model)


@pytest.mark.usefixtures("no_weights")
def test_encoder_decoder(model: dict[str, Any], tmp_path: Path) -> None:
    config = transformers.T5Config(
        d_model=16, num_layers=1, num_heads=2, vocab_size=64, decoder_start_token_id=0
    )
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="t5 is an encoder-decoder model"):
        LoraBoundaryLM(boundary=1, **(model | {"pretrained": str(tmp_path)}))
    with pytest.raises(ModelError, match="seq2seq"):
        LoraBoundaryLM(boundary=1, backend="seq2seq", **model)


@pytest.mark.usefixtures("no_weights")
def test_delta_and_peft(model: dict[str, Any]) -> None:
    with pytest.raises(AdapterError, match="peft= and delta= were both given"):
        LoraBoundaryLM(delta="some/delta", **model)


def test_every_error_is_a_value_error() -> None:
    assert issubclass(LoraBoundaryError, ValueError)


@pytest.mark.parametrize("program", [["-m", "lm_eval"], None], ids=["module", "script"])
def test_one_line_and_status_2_on_the_command_line(
    model: dict[str, Any], program: list[str] | None, tmp_path: Path
) -> None:
    command = [sys.executable, *program] if program else lm_eval_script(tmp_path)
    arguments = f"pretrained={model['pretrained']},peft={model['peft']},boundary=7"
    run = subprocess.run(
        [*command, "--model", "lora_boundary", "--model_args", arguments, "--tasks", "arc_easy"],
        capture_output=True,
        text=True,
        env=os.environ | {"LMEVAL_LOG_LEVEL": "ERROR"},
        check=False,
    )
    assert run.returncode == 2
    lines = [line for line in run.stderr.splitlines() if "lora_boundary" in line]
    assert lines[-1] == run.stderr.splitlines()[-1]
    assert lines[-1].startswith("lora_boundary: error: boundary=7 is out of range")
    assert "Traceback" not in run.stderr


def test_bugs_keep_their_traceback(model: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lm_eval"])
    with monkeypatch.context() as broken:
        broken.setattr(LoraBoundaryLM, "_attach", lambda *_: {}["a bug"])
        with pytest.raises(KeyError):
            LoraBoundaryLM.create_from_arg_obj(model)
    with pytest.raises(SystemExit) as stop:
        LoraBoundaryLM.create_from_arg_obj({**model, "boundary": 9})
    assert stop.value.code == 2
    monkeypatch.setattr(sys, "argv", ["notebook"])
    with pytest.raises(BoundaryError):
        LoraBoundaryLM.create_from_arg_string(
            ",".join(f"{k}={v}" for k, v in model.items()) + ",boundary=9"
        )
