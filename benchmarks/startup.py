"""The cost of the discovery backport at interpreter start, if lm_eval is not imported.

Run it in an environment in which this package is installed:

    python benchmarks/startup.py
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys


def cost() -> float:
    """Return the cumulative import time of this package at one interpreter start in ms."""
    command = [sys.executable, "-X", "importtime", "-c", "pass"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    match = re.search(r"\|\s*(\d+) \|\s+lm_eval_lora_boundary$", report, re.MULTILINE)
    if match is None:
        raise SystemExit("this package is not imported at interpreter start; install it first")
    return int(match[1]) / 1000


def main() -> None:
    times = sorted(cost() for _ in range(51))
    print(f"import at interpreter start: median {statistics.median(times):.2f} ms, ", end="")
    print(f"{times[0]:.2f} to {times[-1]:.2f} ms over {len(times)} starts")
    print(f"Python {sys.version.split()[0]}, with bytecode files")


if __name__ == "__main__":
    main()
