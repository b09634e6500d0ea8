r"""A sweep by this version, compared with the same sweep by another version in its own environment.

Both sides run alternately as whole processes, on the same documents, and their answers are
compared. This version is also compared with its floor: the layer passes of its distinct
computations, by the base model alone (see ``floor.py``).

Install the other version in an environment of its own, then run this where the task finds its data,
on an idle machine:

    git worktree add ../before 494b238 && python -m venv ../before-venv
    ../before-venv/bin/pip install -c constraints.txt '../before[gguf]'
    python benchmarks/before.py --python ../before-venv/bin/python --peft ADAPTER \
        --task lora_boundary_samsum --documents 16 --gen-kwargs max_gen_toks=128
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Run, conditions, run_python, small_model
from sweep import LAYERS, answers, line_after, same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="Python of the other environment")
    parser.add_argument("--peft", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--rows", type=int, default=496, help="documents × boundaries in a batch")
    parser.add_argument("--num-fewshot")
    parser.add_argument("--gen-kwargs")
    parser.add_argument("--boundaries", default="all")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = small_model()
    folder = Path(tempfile.mkdtemp(prefix="before-"))
    more = ["--num-fewshot", options.num_fewshot] if options.num_fewshot else []
    more += ["--gen-kwargs", options.gen_kwargs] if options.gen_kwargs else []

    def sweep(python: str, output: Path, *words: str) -> Run:
        command = ["-W", "ignore", "-m", "lm_eval_lora_boundary", "sweep"]
        command += ["--pretrained", model["pretrained"], "--peft", str(options.peft)]
        command += ["--model-args", f"gguf_file={model['gguf_file']}", "--dtype", options.dtype]
        command += ["--tasks", options.task, "--output", str(output), "--device", "cpu"]
        command += ["--limit", str(options.documents), "--batch-size", str(options.rows)]
        command += ["--engine", "fork", "--split", "test", "--boundaries", options.boundaries]
        return run_python([*command, *more, *words], python=python)

    sides = {"before": options.python, "now": sys.executable}
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    starts = {side: sweep(python, folder / side, "--dry-run").cpu for side, python in sides.items()}
    try:
        for number in range(options.repeats):
            for side, python in sides.items():
                shutil.rmtree(folder / side, ignore_errors=True)
                runs[side].append(run := sweep(python, folder / side))
                print(
                    f"{side} {number + 1}: CPU {run.cpu:.0f} s (of it {starts[side]:.0f} s to "
                    f"start), wall {run.wall:.0f} s, peak {run.peak:.2f} GB",
                    flush=True,
                )
        ratio = {
            name: _median(
                getattr(a, name) / getattr(b, name)
                for a, b in zip(runs["before"], runs["now"], strict=True)
            )
            for name in ("cpu", "wall", "peak")
        }
        working = _median(
            (a.cpu - starts["before"]) / (b.cpu - starts["now"])
            for a, b in zip(runs["before"], runs["now"], strict=True)
        )
        print(
            f"before / now: CPU {ratio['cpu']:.2f}x ({working:.2f}x without the start), wall "
            f"{ratio['wall']:.2f}x, peak memory {ratio['peak']:.2f}x"
        )
        agreeing, documents = 0, 0
        for each in (folder / "now").glob("boundary=*"):
            ours = answers(each, options.task)
            theirs = answers(folder / "before" / each.name, options.task)
            agreeing += same(ours, theirs)
            documents += len(ours)
        print(f"answers that are the same: {agreeing} of {documents}")
        job = {"model": model, "folder": str(folder / "now"), "task": options.task}
        job |= {"rows": options.rows, "dtype": options.dtype}
        floor = run_python([str(Path(__file__).parent / "floor.py"), json.dumps(job)])
        found: dict[str, Any] = json.loads(line_after(floor.output, "FLOOR"))
        least = found["reading"] + found["writing"]
        used = {side: _median(run.cpu - starts[side] for run in runs[side]) for side in sides}
        print(
            f"floor: {found['read']} tokens read in {found['reading']:.0f} s of CPU, "
            f"{found['written']} written in {found['writing']:.0f} s, in {found['share']:.2f} of "
            f"the layer passes of separate runs; over it: before {used['before'] / least:.2f}x, "
            f"now {used['now'] / least:.2f}x"
        )
        print(f"{LAYERS} layers; medians of {options.repeats}; {options}; {conditions()}")
    finally:
        shutil.rmtree(folder)


def _median(values: Any) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
