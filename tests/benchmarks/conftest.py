"""Tests of the benchmarks, which are scripts beside the package."""

from __future__ import annotations

import sys
from pathlib import Path

# at the end: some of the scripts have names of modules of the standard library
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
