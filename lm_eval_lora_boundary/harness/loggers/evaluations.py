"""Evaluations on disk, as lm-eval's loggers take them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import CONFIRMED, CONTROL, read_object, read_samples

AGAIN = "run the same command again; it resumes"
_SAMPLES = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT[^_]*\.jsonl")


@dataclass(frozen=True)
class Evaluated:
    """What lm-eval wrote about a cut.

    Attributes:
        name: Its folder within the output folder, such as ``boundary=3``.
        folder: The folder.
        kind: What was evaluated: ``cut``, ``test`` or ``control``.
    """

    name: str
    folder: Path
    kind: str

    @property
    def results_file(self) -> Path:
        """The results file."""
        return max(self.folder.glob("results_*.json"))

    @property
    def samples_files(self) -> dict[str, Path]:
        """The samples file of each task."""
        files = sorted(self.folder.glob("samples_*.jsonl"))
        found = ((_SAMPLES.fullmatch(file.name), file) for file in files)
        return {match[1]: file for match, file in found if match}

    def results(self, *, with_texts: bool) -> dict[str, Any]:
        """Return the results.

        Args:
            with_texts: Keep the note that quotes the beginning of a prompt.

        Raises:
            OutputError: They cannot be read.
        """
        found = read_object(self.results_file, AGAIN)
        config = found.get("config", {})
        if not with_texts and "notes" in config:
            config["notes"] = [note for note in config["notes"] if note["kind"] != "prompt"]
        return found

    def as_uploaded(self, *, with_texts: bool) -> bytes:
        """Return the results as the content of a file."""
        found = self.results(with_texts=with_texts)
        return json.dumps(found, indent=2, ensure_ascii=False).encode("utf-8", "replace")

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """Return the samples of each task as they were before lm-eval wrote them.

        Raises:
            OutputError: They cannot be read.
        """
        configs = self.results(with_texts=True).get("configs", {})
        return {
            task: list(_as_logged(file, configs.get(task, {}).get("output_type")))
            for task, file in self.samples_files.items()
        }


def evaluated(output: Path) -> list[Evaluated]:
    """Return the evaluations in the output folder of a sweep: cuts, test split, control tasks."""
    kinds = {"": "cut", CONFIRMED: "test", CONTROL: "control"}
    found = []
    for above, kind in kinds.items():
        folders = {file.parent for file in (output / above).rglob("results_*.json")}
        for folder in sorted(folders, key=_natural):
            name = folder.relative_to(output)
            if (name.parts[0] if len(name.parts) > 1 else "") == above:
                found.append(Evaluated(name.as_posix(), folder, kind))
    return found


def _natural(path: Path) -> list[Any]:
    """Sort names with numbers by these numbers: boundary 2 before boundary 10, -1 first."""
    parts = re.split(r"((?:(?<==)-)?\d+)", str(path))
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _as_logged(file: Path, output_type: str | None) -> Iterator[dict[str, Any]]:
    for _, sample in read_samples(file, AGAIN):
        arguments = sample["arguments"]
        if isinstance(arguments, dict):
            sample["arguments"] = [tuple(each.values()) for each in arguments.values()]
        if output_type != "generate_until":  # the rest are numbers, which lm-eval writes as text
            for name in ("resps", "filtered_resps"):
                sample[name] = _numbers(sample[name])
        yield sample


def _numbers(value: Any) -> Any:
    """Return what lm-eval made text of: log-likelihoods, and whether a text is the greedy one."""
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    if value in ("True", "False"):
        return value == "True"
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
