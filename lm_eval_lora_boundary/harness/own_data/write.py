"""Write the task made from a user's own rows as a folder for ``lm_eval --include_path``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import OutputError
from . import lm_eval_task
from .function_name import function_file
from .metric import METRICS
from .request import OwnData, entry

_METRIC = "own_metric"  # module with the user's function


def write_task(
    folder: Path, own: OwnData, config: dict[str, Any], metric: str | None = None
) -> Path:
    """Write a YAML file, the rows and the code; return the path of the YAML file.

    Args:
        folder: The folder to write.
        own: The rows.
        config: The task's configuration.
        metric: The user's own function as ``FILE.py:FUNCTION``, if there is one.

    Raises:
        OutputError: It holds other files, or cannot be written.
    """
    yaml = folder / f"{own.name}.yaml"
    files = {
        yaml.name: _yaml(own, config),
        "utils.py": Path(lm_eval_task.__file__).read_text(encoding="utf-8"),
        lm_eval_task.ROWS: "".join(f"{json.dumps(row)}\n" for row in own.documents()),
    }
    if any(function.__name__ not in METRICS for function in own.metrics) and metric is not None:
        files[f"{_METRIC}.py"] = function_file(metric).read_text(encoding="utf-8")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"write_task={folder} exists and is not an empty folder; give a new one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return yaml


def _yaml(own: OwnData, config: dict[str, Any]) -> str:
    """Return the YAML file: all values are JSON, which is YAML too."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in config.items() if value is not None]
    lines += [
        "class: !function utils.OwnDataTask",
        "custom_dataset: !function utils.load",
        "metric_list:",
    ]
    for function in own.metrics:
        name = function.__name__
        module = "utils" if name in METRICS else _METRIC
        options = {key: value for key, value in entry(function).items() if key != "metric"}
        lines.append(f"  - metric: !function {module}.{name}")
        lines += [f"    {key}: {json.dumps(value)}" for key, value in options.items()]
    return "\n".join(lines) + "\n"
