"""A sweep of all boundaries, compared with evaluating each boundary by lm-eval's ``hf``.

Three sides, on the same documents: (a) one ``lm_eval --model hf,peft=…`` process per boundary, with
adapters cut on disk; (b) one process with HFLM that moves the boundary between evaluations;
(c) ``lora-boundary sweep --engine fork``. Answers of (c) are compared with those of (a) and (b).

Run it where the task finds its data, on an idle machine:

    python benchmarks/sweep.py --peft ADAPTER --task lora_boundary_samsum --documents 32

(a) and (b) do the same work for each boundary. With ``--sample 4`` they run only four evenly spread
boundaries, and the result is scaled up.

(c) is also compared with its floor, which is the same layer passes by the base model alone (see
``floor.py``), and its peak memory with that of ``hf`` on a batch with the same number of rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from common import conditions, run_python, small_model
from peft import LoraConfig
from safetensors.torch import load_file, save_file

LAYERS = 30
WORKER = """
import json, resource, sys, time
import lm_eval
from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import sanitize_list
options = json.loads(sys.argv[1])
lm = HFLM(**options["model"])
cut = LoraCut(lm.model)
manager = TaskManager(include_path=options["include_path"])
lm._model = cut.model.get_base_model()
(task,) = manager.load([options["task"]])["tasks"].values()
task.set_config("repeats", options["repeats"])
rows = []
for boundary in options["boundaries"]:
    cut.move(boundary)
    wall, cpu = time.perf_counter(), time.process_time()
    results = lm_eval.simple_evaluate(
        model=lm, tasks=[task], task_manager=manager, bootstrap_iters=1000, **options["evaluate"]
    )
    rows.append([boundary, time.perf_counter() - wall, time.process_time() - cpu])
    (samples,) = results["samples"].values()
    with open(options["output"] + f"/{boundary}.json", "w") as file:
        json.dump([[s["doc_id"], s["filter"], sanitize_list(s["resps"])] for s in samples], file)
print("ROWS", json.dumps(rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def cut_on_disk(adapter: Path, boundary: int, folder: Path) -> Path:
    """Write a copy of an adapter without the layers above a boundary."""
    config = LoraConfig.from_pretrained(str(adapter))
    config.layers_to_transform = list(range(boundary + 1))
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if int(name.partition("layers.")[2].partition(".")[0]) <= boundary
    }
    folder.mkdir()
    config.save_pretrained(str(folder))
    save_file(kept, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def answers(folder: Path, task: str) -> list[Any]:
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    rows = map(json.loads, file.read_text().splitlines())
    return [[row["doc_id"], row["filter"], row["resps"]] for row in rows]


def same(ours: list[Any], theirs: list[Any]) -> int:
    """Count documents with the same answers: strings, or log-likelihoods within 1e-4."""

    def alike(a: Any, b: Any) -> bool:
        if isinstance(a, list):
            return len(a) == len(b) and all(map(alike, a, b))
        try:
            return a == b or abs(float(a) - float(b)) <= 1e-4 * max(1.0, abs(float(b)))
        except ValueError:
            return False

    return sum(alike(a[2], b[2]) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peft", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--sample", type=int, default=LAYERS + 1)
    parser.add_argument("--separate", type=int, help="like --sample, for the processes of (a)")
    parser.add_argument("--batch-size", type=int, default=8, help="documents, for (a) and (b)")
    parser.add_argument("--rows", type=int, default=496, help="documents × boundaries, for (c)")
    parser.add_argument("--num-fewshot", type=int, default=0)
    parser.add_argument("--gen-kwargs", default="")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--apply-chat-template", action="store_true")
    parser.add_argument("--include-path")
    parser.add_argument(
        "--skip-memory", action="store_true", help="do not measure the memory of hf"
    )
    parser.add_argument("--keep", type=Path, help="folder in which to keep the sweep")
    options = parser.parse_args()
    model = small_model()
    folder = Path(tempfile.mkdtemp(prefix="sweep-"))
    ours = options.keep or folder / "c"
    if ours.exists():
        raise SystemExit(f"--keep {ours} exists, so the sweep would only resume; give a new folder")
    count = LAYERS + 1
    sample = sorted({round(i * LAYERS / (options.sample - 1)) - 1 for i in range(options.sample)})
    separate = options.separate or options.sample
    chosen = sorted({round(i * LAYERS / separate) - 1 for i in range(1, separate + 1)})
    arguments = f"gguf_file={model['gguf_file']}"
    more = ["--num_fewshot", str(options.num_fewshot)]
    more += ["--gen_kwargs", options.gen_kwargs] if options.gen_kwargs else []
    more += ["--apply_chat_template"] if options.apply_chat_template else []
    more += ["--include_path", options.include_path] if options.include_path else []
    try:
        command = (
            ["-m", "lm_eval_lora_boundary", "sweep"]
            + ["--pretrained", model["pretrained"], "--peft", str(options.peft)]
            + ["--tasks", options.task, "--output", str(ours), "--model-args", arguments]
            + ["--limit", str(options.documents), "--dtype", options.dtype, "--device", "cpu"]
            + ["--engine", "fork", "--batch-size", str(options.rows)]
            + ["--split", "test"]  # the split that lm-eval evaluates
            + [word.replace("_", "-") if word.startswith("--") else word for word in more]
        )
        c = run_python(command)
        say(f"(c) sweep, {count} boundaries: wall {c.wall:.0f} s, CPU {c.cpu:.0f} s")
        starting = run_python([*command, "--dry-run"]).cpu
        job = {"model": model, "folder": str(ours), "task": options.task, "rows": options.rows}
        job |= {"dtype": options.dtype}
        floor = run_python([str(Path(__file__).parent / "floor.py"), _json(job)])
        found = json.loads(line_after(floor.output, "FLOOR"))
        say(
            f"floor by layer passes: {found['read']} tokens read {found['reading']:.0f} s, "
            f"{found['written']} written in {found['share']:.2f} of the passes of separate runs "
            f"{found['writing']:.0f} s of CPU; (c) without its start-up of {starting:.0f} s over "
            f"floor: {(c.cpu - starting) / (found['reading'] + found['writing']):.2f}x"
        )

        (folder / "b").mkdir()
        job = {
            "model": model
            | {"peft": str(options.peft), "dtype": options.dtype, "device": "cpu"}
            | {"batch_size": options.batch_size},
            "boundaries": sample,
            "output": str(folder / "b"),
            "include_path": options.include_path,
            "task": options.task,
            "repeats": 1,
            "evaluate": {
                "limit": options.documents,
                "num_fewshot": options.num_fewshot,
                "gen_kwargs": options.gen_kwargs or None,
                "apply_chat_template": options.apply_chat_template,
                "fewshot_as_multiturn": options.apply_chat_template,
            },
        }
        b = run_python(["-c", WORKER, _json(job)])
        rows, peak_b = _rows(b.output)
        startup = b.wall - sum(wall for _, wall, _ in rows), b.cpu - sum(cpu for *_, cpu in rows)
        scale = count / len(sample)
        wall_b = startup[0] + scale * sum(wall for _, wall, _ in rows)
        cpu_b = startup[1] + scale * sum(cpu for *_, cpu in rows)
        say(
            f"(b) one process, {len(sample)} of {count} boundaries run: wall {wall_b:.0f} s, "
            f"CPU {cpu_b:.0f} s; (b)/(c) wall {wall_b / c.wall:.2f}x, CPU {cpu_b / c.cpu:.2f}x"
        )
        agree = [
            same(
                answers(ours / f"boundary={boundary}", options.task),
                json.loads((folder / "b" / f"{boundary}.json").read_text()),
            )
            for boundary in sample
        ]
        say(f"documents with the same answers in (b) and (c), by boundary: {agree}")

        walls, cpus = [], []
        for boundary in chosen:
            adapter = cut_on_disk(options.peft, boundary, folder / f"cut-{boundary}")
            words = f"pretrained={model['pretrained']},{arguments},peft={adapter}"
            a = run_python(
                [
                    *("-m", "lm_eval", "--model", "hf", "--tasks", options.task),
                    *("--model_args", f"{words},dtype={options.dtype}", "--device", "cpu"),
                    *("--batch_size", str(options.batch_size), "--limit", str(options.documents)),
                    *("--output_path", str(folder / f"a-{boundary}"), "--log_samples", *more),
                ]
            )
            walls.append(a.wall)
            cpus.append(a.cpu)
            theirs = answers(folder / f"a-{boundary}", options.task)
            agreeing = same(answers(ours / f"boundary={boundary}", options.task), theirs)
            say(f"documents with the same answers in (a) and (c) at {boundary}: {agreeing}")
        scale = count / len(chosen)
        say(
            f"(a) {len(chosen)} of {count} processes run: wall {scale * sum(walls):.0f} s, CPU "
            f"{scale * sum(cpus):.0f} s; (a)/(c) wall {scale * sum(walls) / c.wall:.2f}x, CPU "
            f"{scale * sum(cpus) / c.cpu:.2f}x"
        )
        say(f"{options}; {conditions()}; {os.getloadavg()}")
        if options.skip_memory:
            return
        # as many rows in hf: every request is repeated once per boundary
        alike = max(1, options.rows // count)
        (folder / "m").mkdir()
        job |= {"boundaries": [LAYERS - 1], "output": str(folder / "m")}
        job["model"] |= {"batch_size": alike * count}
        job["repeats"] = count
        job["evaluate"] |= {"limit": min(alike, options.documents)}
        _, peak_m = _rows(run_python(["-c", WORKER, _json(job)]).output)
        say(
            f"peak memory (c) {c.peak:.1f} GB, (b) {peak_b:.1f} GB; hf with batches of "
            f"{alike * count} rows {peak_m:.1f} GB, (c)/hf {c.peak / peak_m:.2f}x"
        )
    finally:
        shutil.rmtree(folder)


def say(line: str) -> None:
    print(line, flush=True)  # runs are long, so results are printed at once


def _json(content: Any) -> str:
    return json.dumps(content, default=str)


def line_after(output: str, word: str) -> str:
    """Return the rest of the line that starts with a word."""
    return next(li for li in output.splitlines() if li.startswith(f"{word} ")).split(" ", 1)[1]


def _rows(output: str) -> tuple[list[list[float]], float]:
    rows, _, peak = line_after(output, "ROWS").rpartition(" ")
    return json.loads(rows), float(peak)


if __name__ == "__main__":
    main()
