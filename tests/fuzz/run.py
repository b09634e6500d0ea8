"""Try any number of spoilt inputs: ``python tests/fuzz/run.py --inputs 5000 config samples``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from fuzz_targets import TARGETS
from spoilt_inputs import faults


def main() -> int:
    """Print what is wrong, once for each kind, with the seed that shows it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=1000, help="for each target")
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(unknown)}; expected {', '.join(TARGETS)}")
    wrong = 0
    for name in given.targets or TARGETS:
        started = time.perf_counter()
        kinds: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            for seed, problem in faults(TARGETS[name], given.inputs, given.seed, Path(folder)):
                kind = problem.rpartition(" (")[2] or problem
                kinds[kind] += 1
                if kinds[kind] == 1:
                    print(f"  {seed}: {problem.replace(folder, '')}", flush=True)
        wrong += sum(kinds.values())
        seconds = time.perf_counter() - started
        print(
            f"{name}: {given.inputs} inputs in {seconds:.0f} s, {sum(kinds.values())} wrong "
            f"({len(kinds)} kinds)",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
