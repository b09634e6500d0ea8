"""Options of an adapter config that are of a wrong type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.errors import AdapterError

Tiny = Callable[..., tuple[Path, Path]]
VALUES: list[Any] = [
    None,
    True,
    3,
    -1,
    0.5,
    "x",
    "(",
    [],
    ["x"],
    [1],
    [[1]],
    {},
    {"x": 1},
    {"x": []},
]


@pytest.fixture(scope="module")
def copied(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, adapter = tiny()
    return Path(shutil.copytree(adapter, tmp_path_factory.mktemp("types") / "adapter"))


@pytest.mark.filterwarnings("ignore")  # PEFT warns of much that it then does not use
@pytest.mark.parametrize("name", [each.name for each in fields(LoraConfig)])
def test_any_value_is_read_or_refused_in_one_line(name: str, copied: Path, tiny: Tiny) -> None:
    base, _ = tiny()
    path = copied / "adapter_config.json"
    usual = path.read_text()
    try:
        for value in VALUES:
            path.write_text(json.dumps(json.loads(usual) | {name: value}))
            try:
                adapter = open_adapter(copied)
                load_adapter(
                    AutoModelForCausalLM.from_pretrained(base), adapter, lowest_dropped=None
                )
            except AdapterError as error:
                assert "\n" not in str(error), (name, value)
    finally:
        path.write_text(usual)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r": "8"}, "r is '8'; expected an integer"),
        ({"r": 0}, "r is 0; expected at least 1"),
        ({"alpha_pattern": [1]}, "alpha_pattern is [1]; expected an object"),
        ({"bias": 1}, "bias is 1; expected text"),
        ({"use_dora": "yes"}, "use_dora is 'yes'; expected true or false"),
        (
            {"target_modules": [1]},
            "target_modules is [1]; expected a list of texts or text or null",
        ),
        ({"target_modules": "("}, "target_modules is '(', which is no regular expression"),
        ({"layers_to_transform": ["1"]}, "expected a list of integers or an integer or null"),
    ],
)
def test_the_line_says_what_was_expected(
    change: dict[str, Any], message: str, copied: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(copied, tmp_path / "adapter"))
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(AdapterError) as caught:
        open_adapter(folder)
    assert message in str(caught.value)
