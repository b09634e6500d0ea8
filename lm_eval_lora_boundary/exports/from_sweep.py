"""What ``export --from SWEEP`` takes from a sweep: base model, adapter, cut, and its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.keep import Cut, as_cut, parse_keep
from ..cuts.recorded_choice import Record
from ..cuts.size import in_words
from ..errors import AdapterError, BoundaryError, LoraBoundaryError, OutputError
from ..files import SPEED, SWEEP, UNFINISHED, read_object

AGAIN = "run the sweep again with this version, or give --peft and --boundary instead of --from"
# Arguments that say where the base model is; the others say how it was run. Whether code that comes
# with a model may run is never taken from a file.
_OF_BASE = ("revision", "subfolder", "gguf_file")
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Score:
    """What a cut scored on a task.

    Attributes:
        task: The task.
        metric: The metric, without its filter if that is none.
        split: The split of the documents.
        documents: Number of documents.
        value: The score.
        low: Lower end of its 95 % interval; None if there is none.
        high: Upper end.
        whole: What the whole adapter scored.
        base: What the base model scored.
        signature: What exactly was run.
    """

    task: str
    metric: str
    split: str
    documents: int
    value: float
    low: float | None
    high: float | None
    whole: float | None
    base: float | None
    signature: str


class Swept(Record):
    """The base model that a sweep chose a cut for."""

    def check_base(self, sample: str) -> None:
        """Refuse a base model with other weights than those of the sweep."""
        if sample != self.base_sample:
            raise BoundaryError(
                f"{self.path} is about another base model (weights {self.base_sample[:12]}…, now "
                f"{sample[:12]}…; quantised weights differ, too); give the sweep's base model, or "
                "sweep this one"
            )


@dataclass(frozen=True)
class Sweep:
    """A finished sweep on disk.

    Attributes:
        path: Its ``sweep.json``.
        content: What that holds.
    """

    path: Path
    content: Mapping[str, Any]

    @staticmethod
    def read(folder: str | Path) -> Sweep:
        """Read the folder of a finished sweep.

        Raises:
            OutputError: It holds none, or that of an earlier version.
        """
        folder = Path(folder).expanduser()
        path = folder / SWEEP
        if not path.is_file():
            started = " (the sweep has not finished)" if (folder / UNFINISHED).is_file() else ""
            raise OutputError(
                f"{folder} holds no {SWEEP}{started}; expected the --output folder of a finished "
                "sweep"
            )
        content = read_object(path, AGAIN)
        kinds = {
            **{"settings": dict, "tasks": dict, "layers": int, "signature": str},
            **{"adapter_sha256": str, "adapter_config_sha256": str, "base_weights_sample": str},
        }
        missing = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
        if missing:
            raise OutputError(
                f"{path} lacks {', '.join(missing)}, so an earlier version wrote it; {AGAIN}"
            )
        if not 0 < content["layers"] <= _MOST_LAYERS:
            raise OutputError(f"{path} says that the model has {content['layers']} layers; {AGAIN}")
        return Sweep(path, content)

    def named(
        self, pretrained: Any, peft: str | Path | None, arguments: Mapping[str, Any]
    ) -> tuple[Any, str | Path, dict[str, Any]]:
        """Return base model, adapter and model arguments: the given ones, or else the sweep's.

        Raises:
            OutputError: The file does not name them.
        """
        settings = self.content["settings"]
        base, adapter, given = (settings.get(key) for key in ("pretrained", "peft", "model_args"))
        named = isinstance(base, str) and base and isinstance(adapter, str) and adapter
        if not named or not isinstance(given, dict):
            raise OutputError(f"{self.path} does not name base model and adapter; {AGAIN}")
        found = {name: given[name] for name in _OF_BASE if pretrained is None and name in given}
        if peft is None and "peft_revision" in given:
            found["peft_revision"] = given["peft_revision"]
        return (
            base if pretrained is None else pretrained,
            adapter if peft is None else peft,
            {**found, **arguments},
        )

    def choice(self, task: str | None) -> str:
        """Return the notation of the recommended cut.

        Args:
            task: The task whose cut is meant; None if all have the same.

        Raises:
            BoundaryError: It is the whole adapter or the base model, or there are several.
            LoraBoundaryError: The sweep has no such task.
        """
        cuts = {name: self._cut(name, entry) for name, entry in self._entries(task)}
        if len(set(cuts.values())) > 1:
            listed = ", ".join(f"{name}: {in_words(cut)}" for name, cut in cuts.items())
            raise BoundaryError(
                f"the tasks of {self.path} have different choices ({listed}); give --task for one "
                "of them, or --boundary or --keep"
            )
        name, cut = next(iter(cuts.items()))
        if cut.keeps_none or cut.keeps_all:
            reason = self.content["tasks"][name].get("choice_reason")
            why = f": {reason}" if isinstance(reason, str) else ""
            what, use = (
                ("the base model", "serve it without an adapter")
                if cut.keeps_none
                else ("the whole adapter", "use its folder as it is")
            )
            raise BoundaryError(
                f"{self.path} recommends {what}{why}. There is nothing to export: {use}, or give a "
                "cut with --boundary or --keep"
            )
        return cut.notation

    def check_adapter(self, adapter: AdapterFolder) -> None:
        """Refuse an adapter that is not the one that was swept.

        Raises:
            AdapterError: Its tensors or its config are others.
        """
        for key, now, what in (
            ("adapter_sha256", adapter.sha256, "tensors"),
            ("adapter_config_sha256", adapter.config_sha256, "config"),
        ):
            then = self.content[key]
            if then != now:
                raise AdapterError(
                    f"the {what} of {adapter.path} are not those of {self.path} (SHA-256 "
                    f"{then[:12]}… there, {now[:12]}… now), so its scores are not about this "
                    "adapter; give the adapter that was swept, or sweep this one"
                )

    def base(self, keep: str, pretrained: object) -> Swept:
        """Return the record of the base model that a cut was chosen for, and that is now used."""
        same = pretrained == self.content["settings"]["pretrained"]
        return Swept(self.path, keep, self.content["base_weights_sample"], same_name=same)

    def scores(self, cut: Cut, task: str | None) -> list[Score]:
        """Return what a cut scored: on the documents that tested the choice, and on the others.

        Raises:
            OutputError: The file is damaged.
        """
        try:
            return [
                score
                for name, entry in self._entries(task)
                for part in (entry.get("test"), entry)
                if part is not None
                for score in self._scored(name, entry, part, cut)
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise OutputError(
                f"{self.path} is damaged ({type(error).__name__}: {error}); {AGAIN}"
            ) from error

    def _entries(self, task: str | None) -> list[tuple[str, Mapping[str, Any]]]:
        tasks = self.content["tasks"]
        if task is not None and task not in tasks:
            raise LoraBoundaryError(
                f"task {task} is none of {self.path}; expected {' or '.join(sorted(tasks))}"
            )
        found = [(name, tasks[name]) for name in tasks if task in (None, name)]
        if not found or not all(isinstance(entry, dict) for _, entry in found):
            raise OutputError(f"{self.path} holds no tasks; {AGAIN}")
        return found

    def _cut(self, name: str, entry: Mapping[str, Any]) -> Cut:
        choice = entry.get("choice")
        if isinstance(choice, bool) or not isinstance(choice, (int, str)):
            raise OutputError(f"{self.path} holds no choice for {name}; {AGAIN}")
        return as_cut(choice, self.content["layers"])

    def _scored(
        self, name: str, entry: Mapping[str, Any], part: Mapping[str, Any], cut: Cut
    ) -> Iterator[Score]:
        """Yield the score of a cut on one split, if it was scored there."""
        layers = self.content["layers"]
        rows = {Cut.up_to(row["boundary"], layers): row for row in part["boundaries"]}
        families = part.get("families", {}).values()
        others = [*part.get("cuts", ()), *(row for family in families for row in family["cuts"])]
        rows |= {parse_keep(row["cut"], layers): row for row in others}
        if cut not in rows or rows[cut]["value"] is None:
            return
        whole, base = (rows.get(Cut.up_to(end, layers), {}) for end in (layers - 1, -1))
        yield Score(
            task=str(name),
            metric=str(entry["metric"]).removesuffix(",none"),
            split=str(part["split"]),
            documents=int(part["documents"]),
            value=float(rows[cut]["value"]),
            low=_number(rows[cut].get("value_low")),
            high=_number(rows[cut].get("value_high")),
            whole=_number(whole.get("value")),
            base=_number(base.get("value")),
            # that of the test split; earlier versions wrote only one, of the documents chosen on
            signature=str(part.get("signature", self.content["signature"])),
        )

    def speed(self, cut: Cut) -> list[str]:
        """Return what was measured about the speed of a cut, in sentences; often nothing."""
        path = self.path.with_name(SPEED)
        if not path.is_file():
            return []
        content = read_object(path, f"remove {path.name}, and run the sweep again")
        if content.get("adapter_sha256") != self.content["adapter_sha256"]:
            return []
        said = content.get("sentences")
        return [
            each["text"]
            for each in (said if isinstance(said, list) else ())
            if isinstance(each, dict)
            and isinstance(each.get("text"), str)
            and each.get("cut") == cut.name
        ]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
