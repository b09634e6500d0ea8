"""What reads adapter folders: their config, their tensors, the recorded choice."""

from __future__ import annotations

import json
import random
import struct
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import torch
import transformers
from spoilt_inputs import Target
from tiny_models import save_adapter, tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import AdapterFolder, open_adapter
from lm_eval_lora_boundary.cuts.base_model import empty_model
from lm_eval_lora_boundary.cuts.keep import parse_keep
from lm_eval_lora_boundary.cuts.loading import check_fits, load_adapter
from lm_eval_lora_boundary.cuts.recorded_choice import read_record, recorded_choice
from lm_eval_lora_boundary.exports.card import model_card
from lm_eval_lora_boundary.harness.key_values import read_key_values
from lm_eval_lora_boundary.harness.model_args import open_cut

CONFIG, WEIGHTS, RECORD = "adapter_config.json", "adapter_model.safetensors", "lora_boundary.json"
MODEL_ARGS = "pretrained=base,dtype=float32,keep=0-1@0.5,boundary=2,merge=True"
# what the harness and the model do with arguments before anything is loaded
_LAYERS = 4
_RARELY = 0.02
_NAMES = ("boundary", "keep", "merge", "x", "")


@cache
def config() -> Any:
    return tiny_model().config


def adapter(folder: Path) -> None:
    transformers.logging.set_verbosity_error()
    save_adapter(folder, tiny_model(), modules_to_save=["lm_head"], rank_pattern={"q_proj": 2})
    opened = open_adapter(folder)
    record = {
        "boundary": 1,
        "cut": "0-1",
        "adapter_sha256": opened.sha256,
        "adapter_config_sha256": opened.config_sha256,
        "base_weights_sample": "0" * 64,
        "task": "task",
        "metric": "acc,none",
        "signature": "base x | adapter y",
        "value": 0.5,
    }
    (folder / RECORD).write_text(json.dumps(record))


def pickled(folder: Path) -> None:
    from safetensors.torch import load_file

    adapter(folder)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def read(folder: Path, source: random.Random | None) -> AdapterFolder:
    """Read an adapter as every command does; now and then, let PEFT load it, too."""
    opened = open_adapter(folder)
    model = empty_model(config())
    check_fits(model, opened)
    if source is None or source.random() < 0.1:
        load_adapter(model, opened, lowest_dropped=0)
    return opened


def spoil_config(source: random.Random | None, folder: Path) -> None:
    path = folder / CONFIG
    if source is not None and source.random() < _RARELY:
        hostile.no_file(source, path)
    elif source is not None:
        found = json.loads(path.read_text())
        if source.random() < 0.1:
            found[source.choice(["auto_mapping", "runtime_config", "trust_remote_code"])] = {
                "base_model_class": "system",
                "parent_library": "os",
            }
        hostile.write(path, hostile.json_bytes(source, hostile.changed(source, found)))
    read(folder, source)


def spoil_header(source: random.Random | None, folder: Path) -> None:
    path = folder / WEIGHTS
    if source is not None and source.random() < _RARELY:
        hostile.no_file(source, path)
    elif source is not None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header, data = content[8 : 8 + length], content[8 + length :]
        kind = source.random()
        if kind < 0.7:
            changed = hostile.changed(source, json.loads(header))
            header = hostile.json_bytes(source, changed)
        elif kind < 0.85:
            header = hostile.damaged(source, header)
        else:
            data = hostile.damaged(source, data)
        if kind < 0.95:
            length = len(header)
        else:
            length = source.choice([0, 1, len(content), 2**31, 2**40, 2**63, 2**64 - 1])
        hostile.write(path, struct.pack("<Q", length) + header + data)
    read(folder, source)


def spoil_pickle(source: random.Random | None, folder: Path) -> None:
    path = folder / "adapter_model.bin"
    if source is not None and source.random() < _RARELY:
        hostile.no_file(source, path)
    elif source is not None:
        hostile.write(path, hostile.damaged(source, path.read_bytes()))
    read(folder, source)


def spoil_record(source: random.Random | None, folder: Path) -> None:
    path = folder / RECORD
    if source is not None and source.random() < _RARELY:
        hostile.no_file(source, path)
    elif source is not None:
        found = hostile.changed(source, json.loads(path.read_text()))
        hostile.write(path, hostile.json_bytes(source, found))
    opened = open_adapter(folder)
    chosen = recorded_choice(opened, "0-1", 1)
    model_card(FACTS, chosen)
    parse_keep(read_record(opened).keep, _LAYERS)


FACTS = {
    "base_model": "org/base",
    "kind": "LoRA",
    "buys": ["It is smaller."],
    "verified": "logits",
    "merge": False,
    "boundary": 1,
    "cut": "0-1",
    "num_layers": 4,
    "kept_modules": 1,
    "kept_parameters": 1,
    "dropped_modules": 1,
    "dropped_parameters": 1,
    "source": "adapter",
    "adapter_sha256": "0",
    "exported_sha256": "0",
    "dtype": "float32",
    "max_difference": 0.0,
    "versions": {},
    "loading": {},
    "grown_rows": 0,
    "vllm_problems": [],
    "vllm_max_lora_rank": 8,
    "vllm_conditions": [],
}


def spoil_arguments(source: random.Random | None, folder: Path) -> None:
    text = MODEL_ARGS
    if source is not None:
        parts = [
            f"{source.choice(_NAMES)}={source.choice(hostile.TEXTS)}"
            for _ in range(source.randrange(4))
        ]
        text = ",".join([*parts, *([MODEL_ARGS] if source.random() < 0.3 else [])])
        if source.random() < 0.3:
            text = json.dumps(
                hostile.changed(source, {"boundary": 1, "keep": "0-1", "x": {"y": [1]}})
            )
        if source.random() < 0.3:
            text = hostile.damaged(source, text.encode("utf-8", "replace")).decode(
                "utf-8", "replace"
            )
    given = read_key_values(text, "--model-args")
    asked = open_cut(
        None if source is None else str(folder),
        given.get("boundary") if source is not None else None,
        keep=given.get("keep") if source is not None else None,
        merge=given.get("merge", False) if source is not None else False,
        peft_revision=None,
    )
    asked.cut(_LAYERS)


TARGETS = {
    "config": Target(adapter, spoil_config),
    "safetensors": Target(adapter, spoil_header),
    "pickle": Target(pickled, spoil_pickle),
    "record": Target(adapter, spoil_record),
    "arguments": Target(adapter, spoil_arguments),
}
