"""All targets, by name."""

from __future__ import annotations

import sys
from pathlib import Path

# helpers of the tests of other rooms
sys.path += [str(Path(__file__).parents[1] / room) for room in ("compare", "report")]

import adapter_targets
import result_targets

TARGETS = {**adapter_targets.TARGETS, **result_targets.TARGETS}
