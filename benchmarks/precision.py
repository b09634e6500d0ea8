"""The number of responses that differ between engines, in half precision and in fp32.

Runs the same sweep with ``fork`` and ``toggle`` in each precision, and counts the responses that
differ from those of ``toggle`` at batch size 1. ``toggle`` in larger batches shows how many
differences to expect: in half precision, another order of summation rounds differently, and near
ties between tokens are decided differently. Run it where the task finds its data:

    python benchmarks/precision.py --peft ADAPTER --task lora_boundary_demo
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from common import conditions, run_python, small_model


def responses(folder: Path, task: str) -> list[Any]:
    """Return the responses to every document at every boundary."""
    found = []
    for boundary in sorted(folder.glob("boundary=*")):
        (file,) = boundary.glob(f"samples_{task}_*.jsonl")
        rows = map(json.loads, file.read_text("utf-8").splitlines())
        found += [row["resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peft", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--boundaries", default="-1,5,10,15,20,25,29")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args()
    model = small_model()
    folder = Path(tempfile.mkdtemp(prefix="precision-"))
    runs = {"fork": ["--engine", "fork"], "toggle": ["--engine", "toggle", "--batch-size", "8"]}
    runs["toggle, batch size 1"] = ["--engine", "toggle", "--batch-size", "1"]
    try:
        for dtype in options.dtypes:
            found = {}
            for name, words in runs.items():
                output = folder / dtype / name
                command = [
                    *("-m", "lm_eval_lora_boundary", "sweep", "--split", "test"),
                    *("--pretrained", model["pretrained"], "--peft", options.peft),
                    *("--model-args", f"gguf_file={model['gguf_file']}", "--dtype", dtype),
                    *("--tasks", options.task, "--limit", str(options.documents)),
                    *(f"--boundaries={options.boundaries}", "--device", "cpu"),
                    *("--output", str(output), *words),
                ]
                run_python(command)
                found[name] = responses(output, options.task)
            reference = found.pop("toggle, batch size 1")
            for name, answers in found.items():
                different = sum(a != b for a, b in zip(answers, reference, strict=True))
                print(
                    f"{dtype}: {name} compared with toggle at batch size 1: {different} of "
                    f"{len(answers)} responses differ ({different / len(answers):.1%})"
                )
        print(f"{options}; {conditions()}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
