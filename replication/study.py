"""The records of a study, by data set and training seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .comparing import boundaries
from .cuts import WHOLE, best_boundary, boundary
from .metrics import GOLD, Record, sign_of
from .plan import DATA, Data
from .text import listed


@dataclass(frozen=True)
class Seed:
    """What is known of a data set under one training seed.

    Attributes:
        data: The data set.
        seed: The training seed.
        steps: The records, by step.
    """

    data: Data
    seed: int
    steps: Mapping[str, Record]

    def has(self, *names: str) -> bool:
        """Return whether these steps have been run."""
        return all(name in self.steps for name in names)

    @cached_property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.steps["choose"]["layers"])

    def task(self, step: str, name: str | None = None) -> Record:
        """Return the scores of a task; by default of the data set's own."""
        record = self.steps[step]
        name = name or self.data.task
        found: Record = (record["tasks"] | record.get("control_tasks", {}))[name]
        return found

    def best(self, name: str | None = None) -> str:
        """Return the best boundary of the validation split, as a cut; the whole adapter in a tie.

        Raises:
            ValueError: The sweep chose by another metric than the plan says.
        """
        scored = self.task("choose", name)
        planned = self.data.metrics[0] if scored is self.task("choose") else GOLD
        if scored["metric"] != planned:
            raise ValueError(
                f"{self.data.name}: the plan says {planned}, the sweep chose by {scored['metric']}"
            )
        return boundary(best_boundary(self.steps["choose"], name or self.data.task), self.layers)

    def by_boundary(self, name: str | None = None) -> dict[str, float]:
        """Return what every boundary scored on the validation split: higher values are better."""
        scored = self.task("choose", name)
        metric = scored["metric"]
        sign, cuts = sign_of(scored, metric), scored["metrics"][metric]["cuts"]
        names = boundaries(scored, self.layers).values()
        return {cut: sign * float(cuts[cut]["value"]) for cut in names}

    def all_equal(self, name: str | None = None) -> bool:
        """Return whether no boundary differs from another on the validation split."""
        return len(set(self.by_boundary(name).values())) == 1

    def best_below_whole(self) -> str:
        """Return the best boundary other than the whole adapter; the smallest of equal ones."""
        values = self.by_boundary()
        return max((cut for cut in values if cut != WHOLE), key=values.__getitem__)

    def smallest(self, name: str | None = None) -> str | None:
        """Return the smallest boundary that the validation split shows to keep the gain."""
        found = self.task("choose", name)["decision"]["smallest_noninferior"]
        return None if found is None else boundary(found, self.layers)


class Study:
    """All records.

    Attributes:
        folder: Where they are. If a rule was changed after results were known, a text there says so
            (``changes.md``); it goes when these records go.
        seeds: The training seeds by data set.
    """

    def __init__(self, folder: Path) -> None:
        """Read the records in a folder."""
        self.folder = folder
        self.seeds: dict[str, list[Seed]] = {}
        for data in DATA:
            found = []
            for place in sorted((folder / data.name).glob("seed=*")):
                steps = {
                    path.stem: json.loads(path.read_text("utf-8"))
                    for path in sorted(place.glob("*.json"))
                }
                if steps:
                    found.append(Seed(data, int(place.name.partition("=")[2]), steps))
            self.seeds[data.name] = found

    def having(self, *steps: str) -> list[tuple[Data, list[Seed]]]:
        """Return the data sets, each with the seeds for which these steps have been run."""
        found = [
            (data, [seed for seed in self.seeds[data.name] if seed.has(*steps)]) for data in DATA
        ]
        return [(data, seeds) for data, seeds in found if seeds]

    def conditions(self) -> str:
        """Return the base model and the number of training seeds, as text."""
        every = [seed for found in self.seeds.values() for seed in found if seed.has("train")]
        base = every[0].steps["train"]["base"]
        name = (base.get("gguf_file") or base["name"]).removesuffix(".gguf")
        counts = {
            data.title: len(seeds)
            for data, seeds in ((data, self.seeds[data.name]) for data in DATA)
            if any(seed.has("train") for seed in seeds)
        }
        fewest = min(counts.values())
        seeds = "one training seed" if fewest == 1 else f"{fewest} training seeds"
        more = [f"{count} for {title}" for title, count in counts.items() if count > fewest]
        return f"the base model {name} and {seeds}{f' ({listed(more)})' if more else ''}"
