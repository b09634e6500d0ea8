"""``lora-boundary tasks``."""

from __future__ import annotations

from ..discovery import tasks_folder


def tasks() -> None:
    """Print the folder of the bundled tasks, for lm-eval's `--include_path`.

    Where this package is installed, lm-eval finds the tasks without it.

    Example: `lm_eval --include_path "$(lora-boundary tasks)" --tasks lora_boundary …`
    """
    print(tasks_folder())
