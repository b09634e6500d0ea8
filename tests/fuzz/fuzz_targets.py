"""All targets, by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "report"))  # helpers of its tests

import adapter_targets
import result_targets

TARGETS = {**adapter_targets.TARGETS, **result_targets.TARGETS}
