"""How many responses differ between engines in half precision, and in fp32.

Runs the same sweep with ``fork`` and with ``toggle`` in each precision and counts responses that
are not the same string as those of ``toggle`` at batch size 1. ``toggle`` in larger batches is the
yardstick: in half precision, sums in another order round to other values, and near ties between
tokens fall the other way. Run it where the task finds its data:

    python benchmarks/precision.py --peft ADAPTER --task lora_boundary_demo
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import conditions, small_model


def responses(folder: Path, task: str) -> list[Any]:
    """Return the responses at every boundary to every document."""
    found = []
    for each in sorted(folder.glob("boundary=*")):
        (file,) = each.glob(f"samples_{task}_*.jsonl")
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
                    *(sys.executable, "-m", "lm_eval_lora_boundary", "sweep", "--split", "test"),
                    *("--pretrained", model["pretrained"], "--peft", options.peft),
                    *("--model-args", f"gguf_file={model['gguf_file']}", "--dtype", dtype),
                    *("--tasks", options.task, "--limit", str(options.documents)),
                    *(f"--boundaries={options.boundaries}", "--device", "cpu"),
                    *("--output", str(output), *words),
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
                found[name] = responses(output, options.task)
            yardstick = found.pop("toggle, batch size 1")
            for name, answers in found.items():
                other = sum(a != b for a, b in zip(answers, yardstick, strict=True))
                print(
                    f"{dtype}: {name} against toggle at batch size 1: {other} of {len(answers)} "
                    f"responses differ ({other / len(answers):.1%})"
                )
        print(f"{options}; {conditions()}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
