"""Writes the cuts of families whose order needs the model, without scoring them.

    python -m replication.orders --pretrained … --peft … --tasks … --family norm,map --output DIR

takes the options of ``lora-boundary sweep`` that it needs. Only ``map`` scores something: what is
lost without each layer alone.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

from lm_eval_lora_boundary.files import write_text
from lm_eval_lora_boundary.harness.evaluation import Evaluation
from lm_eval_lora_boundary.harness.key_values import read_key_values
from lm_eval_lora_boundary.harness.signature import describe_run, identity
from lm_eval_lora_boundary.harness.tasks import find_tasks, task_manager
from lm_eval_lora_boundary.sweeps.cuts_to_score import find_cuts
from lm_eval_lora_boundary.sweeps.engines import find_engines, load_model
from lm_eval_lora_boundary.sweeps.measures import measures
from lm_eval_lora_boundary.sweeps.progress import Progress
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.sweeps.tasks import load_tasks

NAME = "orders.json"


def find_orders(settings: SweepSettings, output: Path) -> dict[str, list[str]]:
    """Return the cuts of each family, from the whole adapter down to the base.

    Args:
        settings: The sweep that would score them.
        output: Folder for the answers, so that the same call again goes on.
    """
    output.mkdir(parents=True, exist_ok=True)
    lm = load_model(settings, None)
    manager = task_manager(settings.include_path, settings.model_arguments())
    tasks = load_tasks(manager, find_tasks(manager, settings.tasks), settings)
    evaluation = Evaluation(lm, tasks, settings)
    with (
        closing(AnswerStore(output)) as store,
        closing(find_engines(lm, settings.engine)) as engines,
        closing(Progress(lm.decoder_layers)) as progress,
    ):
        run = identity(describe_run(lm, settings))
        scheduler = Scheduler(engines, store, run, settings.batch_size, progress)
        seen = measures(lm, evaluation, scheduler, settings)
        found = find_cuts(lm, settings, None, seen)
    return {family.name: [cut.notation for cut in family.cuts] for family in found.families}


def main() -> None:
    """Read the options, find the orders and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("output", "pretrained", "peft", "tasks", "family"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model-args", default="")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    settings = SweepSettings(
        pretrained=given.pretrained,
        peft=given.peft,
        tasks=(given.tasks,),
        family=tuple(given.family.split(",")),
        dtype=given.dtype,
        split=given.split,
        limit=given.limit,
        model_args=read_key_values(given.model_args, "--model-args"),
    )
    output = Path(given.output)
    orders = find_orders(settings, output)
    write_text(output / NAME, json.dumps(orders, indent=1) + "\n")


if __name__ == "__main__":
    main()
