"""``lora-boundary tasks``."""

from __future__ import annotations

import typer

from ..discovery import tasks_folder


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("tasks")(tasks)


def tasks() -> None:
    """Print the folder of the bundled tasks, for lm-eval's `--include_path`.

    lm-eval finds the tasks without it wherever this package is installed.

    Example: `lm_eval --include_path "$(lora-boundary tasks)" --tasks lora_boundary …`
    """
    print(tasks_folder())
