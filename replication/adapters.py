"""Makes sure that all steps of a seed are about one adapter.

Records are kept in the repository, adapters are not. One that a step needs and that is gone is
trained again. Training rounds differently on different machines, so the new one may be another.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.files import read_object

from .steps import TRAIN, Places, Step

_SHORT = 12  # characters of a checksum in a signature


class Adapters:
    """The adapters of a run.

    Attributes:
        steps: All steps.
    """

    def __init__(self, steps: Sequence[Step], places: Places) -> None:
        """Take the steps of a run."""
        self.steps = steps
        self._places = places
        self._refused: dict[tuple[str, int, str], str] = {}

    def refused(self, step: Step) -> bool:
        """Return whether a step reads an adapter, or needs records of one, that was refused."""
        trainings = (TRAIN, step.training or step.name)
        return any((step.data.name, step.seed, name) in self._refused for name in trainings)

    def to_train_again(self, step: Step) -> Step | None:
        """Return the training that has to be repeated for a step; None if its adapter is there."""
        training = self._training(step)
        if training is None or step.adapter is None:
            return None
        if not _description(training).get("finished"):
            return training
        if not (step.adapter / "adapter_model.safetensors").exists():
            shutil.rmtree(training.output)  # a finished training is not run again
            return training
        return None

    def accept(self, step: Step) -> bool:
        """Return whether a step's adapter is the one of the records; if not, remember it."""
        training = self._training(step)
        if training is None:
            return True
        found, expected = _description(training)["adapter_sha256"], self._recorded(training)
        if found != expected:
            path = self._record(training)
            self._refuse(training, f"{path} is about another adapter than {training.output}")
        return bool(found == expected)

    def check_record(self, step: Step) -> None:
        """Remember it if the record of a step is about another adapter than that of its training.

        The adapter after fewer epochs has no record of its own to compare with.
        """
        training, path = self._training(step), self._record(step)
        if training is None or training.output != step.adapter:
            return
        signature = json.loads(path.read_text("utf-8")).get("signature")
        short = self._recorded(training)[:_SHORT]
        if signature is not None and f"| adapter {short} |" not in signature:
            self._refuse(training, f"{path} is about another adapter than {self._record(training)}")

    def raise_what_was_refused(self) -> None:
        """Raise an error if there was another adapter than expected.

        Raises:
            OutputError: There was.
        """
        if self._refused:
            raise OutputError(
                f"{'; '.join(self._refused.values())}. Training rounds differently on different "
                "machines. Remove the records of that adapter to run its steps again, or keep them "
                "and give another --records"
            )

    def _refuse(self, training: Step, why: str) -> None:
        self._refused.setdefault((training.data.name, training.seed, training.name), why)

    def _training(self, step: Step) -> Step | None:
        """Return the step that trains the adapter that a step reads."""
        wanted = (step.data, step.seed, step.training)
        found = (each for each in self.steps if (each.data, each.seed, each.name) == wanted)
        return next(found, None)

    def _record(self, step: Step) -> Path:
        return self._places.record(step.data.name, step.seed, step.name)

    def _recorded(self, training: Step) -> str:
        path = self._record(training)
        return str(read_object(path, f"remove {path.parent}")["adapter_sha256"])


def _description(training: Step) -> dict[str, Any]:
    """Return what training wrote about itself; nothing if it never began."""
    path = training.output / "training.json"
    if not path.exists():
        return {}
    return read_object(path, f"remove the folder {training.output}")
