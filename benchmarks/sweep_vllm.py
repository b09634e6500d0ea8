"""A sweep in vLLM, compared with one `lm_eval --model vllm` process per boundary and with `fork`.

Three sides on the same documents, including start-up: (a) one process per boundary with lm-eval's
``vllm`` model and adapters written by `lora-boundary export`; (b) ``sweep --engine vllm``; (c)
``sweep --engine fork``. (a) does the same work for each boundary. With ``--sample 3`` it runs only
three evenly spread boundaries, and the result is scaled up.

Run it in the environment of `make test-vllm`, where the task finds its data, on an idle machine.
vLLM cannot load GGUF files as `hf` does, so the base model must be a folder in another format:

    python benchmarks/sweep_vllm.py --pretrained BASE --peft ADAPTER --task lora_boundary_demo
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from common import run_python

# a quick start on a small CPU machine, for all sides
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}


def run(words: list[str]) -> tuple[float, float]:
    """Run Python with the settings above; return its wall and CPU time in seconds."""
    done = run_python(words, SETTINGS | os.environ)
    return done.wall, done.cpu


def answers(folder: Path, task: str) -> list[Any]:
    """Return the responses to every document, in order."""
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    rows = map(json.loads, file.read_text("utf-8").splitlines())
    return [row["resps"] for row in sorted(rows, key=lambda row: (row["filter"], row["doc_id"]))]


def same(ours: list[Any], theirs: list[Any]) -> str:
    """Count documents with the same answers."""
    return f"{sum(map(_alike, ours, theirs))} of {len(theirs)}"


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_alike, a, b))
    try:
        return a == b or abs(float(a) - float(b)) <= 1e-4 * max(1.0, abs(float(b)))
    except ValueError:
        return str(a).strip() == str(b).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretrained", required=True)
    parser.add_argument("--peft", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--sample", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--gen-kwargs", default="")
    parser.add_argument("--include-path")
    parser.add_argument("--max-model-len", type=int, default=1024)
    options = parser.parse_args()
    count = options.layers + 1
    engine = f"enforce_eager=True,max_model_len={options.max_model_len}"
    chosen = sorted(
        {round(i * options.layers / options.sample) - 1 for i in range(1, options.sample + 1)}
    )
    more = ["--include-path", options.include_path] if options.include_path else []
    more += ["--gen-kwargs", options.gen_kwargs] if options.gen_kwargs else []
    folder = Path(tempfile.mkdtemp(prefix="vllm-"))
    try:
        sides: dict[str, tuple[float, float]] = {}
        for side, words in {
            "vllm": ["--engine", "vllm", "--model-args", engine],
            "fork": ["--engine", "fork", "--device", "cpu"],
        }.items():
            sides[side] = run(
                [
                    *("-m", "lm_eval_lora_boundary", "sweep", "--pretrained", options.pretrained),
                    *("--peft", options.peft, "--tasks", options.task, "--split", "test"),
                    *("--limit", str(options.documents), "--dtype", options.dtype),
                    *("--output", str(folder / side), *words, *more),
                ]
            )
        walls, cpus, agree = 0.0, 0.0, {}
        for boundary in chosen:
            cut = folder / f"cut-{boundary}"
            run(
                [
                    *("-m", "lm_eval_lora_boundary", "export", "--pretrained", options.pretrained),
                    *("--peft", options.peft, "--boundary", str(boundary), "--device", "cpu"),
                    str(cut),
                ]
            )
            arguments = f"pretrained={options.pretrained},lora_local_path={cut},{engine}"
            wall, cpu = run(
                [
                    *("-m", "lm_eval", "--model", "vllm", "--tasks", options.task),
                    *("--model_args", f"{arguments},dtype={options.dtype}"),
                    *("--batch_size", "auto", "--limit", str(options.documents), "--log_samples"),
                    *("--output_path", str(folder / f"a-{boundary}")),
                    *(w.replace("-", "_") if w.startswith("--") else w for w in more),
                ]
            )
            walls, cpus = walls + wall, cpus + cpu
            theirs = answers(folder / f"a-{boundary}", options.task)
            agree[boundary] = {
                side: same(answers(folder / side / f"boundary={boundary}", options.task), theirs)
                for side in sides
            }
        scale = count / len(chosen)
        a = (walls * scale, cpus * scale)
        print(f"(a) {len(chosen)} of {count} processes run: wall {a[0]:.0f} s, CPU {a[1]:.0f} s")
        for letter, side in (("b", "vllm"), ("c", "fork")):
            wall, cpu = sides[side]
            print(
                f"({letter}) sweep --engine {side}: wall {wall:.0f} s, CPU {cpu:.0f} s; "
                f"(a)/({letter}) wall {a[0] / wall:.2f}x, CPU {a[1] / cpu:.2f}x"
            )
        print(f"documents with the same answers as in (a), by boundary: {agree}")
        print(f"{options}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
