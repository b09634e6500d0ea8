"""What the statistics of a sweep do on made-up documents whose truth is known.

    python benchmarks/simulate.py                  # all simulations, as tables
    python benchmarks/simulate.py smallest luck    # some of them
    python benchmarks/simulate.py --write          # into docs/simulations.json, docs/statistics.md

They take from seconds to half an hour each on one core. ``made_up.py`` makes the documents.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import simulated_choices as choices
import simulated_tests as tests

Row = dict[str, Any]

# with the number of repeats
SIMULATIONS: dict[str, tuple[Callable[[int], list[Row]], int]] = {
    "smallest": (choices.smallest, 400),
    "at_the_margin": (choices.at_the_margin, 1000),
    "coverage_binary": (tests.coverage_binary, 1),
    "coverage_means": (tests.coverage_means, 1000),
    "equal_cuts": (tests.equal_cuts, 400),
    "luck": (choices.luck, 400),
    "stability": (choices.stability, 400),
    "clusters": (tests.clusters, 1000),
    "collapse": (tests.collapse, 400),
    "power": (tests.power, 1000),
    "rare_losses": (choices.rare_losses, 1000),
    "decision": (choices.decision, 200),
}

DOCS = Path(__file__).resolve().parent.parent / "docs"


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [f"| {' | '.join(rows[0])} |", f"|{'|'.join('---' for _ in rows[0])}|"]
    lines += [f"| {' | '.join(str(value) for value in row.values())} |" for row in rows]
    return "\n".join(lines)


def filled(page: str, found: dict[str, Any]) -> str:
    """Return a page with the tables between its marks, ``<!-- simulated: NAME -->``."""
    for name, entry in found.items():
        mark, end = f"<!-- simulated: {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(mark)}.*?{re.escape(end)}", re.DOTALL)
        text = f"{mark}\n{table(entry['rows'])}\n\n{entry['repeats']:,} repeats.\n{end}"
        page = pattern.sub(text.replace("\\", r"\\"), page)
    return page


def main() -> None:
    """Run simulations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SIMULATIONS))
    parser.add_argument("--repeats", type=int, help="instead of each simulation's own number")
    parser.add_argument("--write", action="store_true", help="write the results into docs/")
    options = parser.parse_args()
    path = DOCS / "simulations.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in options.names or SIMULATIONS:
        simulate, repeats = SIMULATIONS[name]
        repeats = options.repeats or repeats
        rows = simulate(repeats)
        print(f"{name}, {repeats} repeats\n{table(rows)}\n", flush=True)
        found[name] = {"repeats": repeats, "rows": rows}
        if options.write:
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
            page = DOCS / "statistics.md"
            page.write_text(filled(page.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
