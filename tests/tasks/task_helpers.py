"""Helpers of the tests of the bundled tasks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from lm_eval_lora_boundary.upstream.lm_eval import load_data

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tasks"
SHARED = ROOT.parent / "shared"


class ScriptedLM(LM):
    """A model whose response is a function of the document."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.prompts = []

    def generate_until(self, requests, disable_tqdm=False):
        self.prompts += [request.args[0] for request in requests]
        return [self.answer(request.doc) for request in requests]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise AssertionError("bundled tasks do not request log-likelihoods")

    loglikelihood_rolling = loglikelihood

    @property
    def tokenizer_name(self):
        return "scripted"

    def chat_template(self, chat_template=False):
        return "<role>content</role>"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        turns = "".join(f"<{turn['role']}>{turn['content']}</>" for turn in chat_history)
        return turns + "<assistant>" * add_generation_prompt


def load_utils(folder: str) -> ModuleType:
    """Return the module beside a task's YAML file."""
    name = f"lora_boundary_tasks_{folder}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TASKS / folder / "utils.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def task_manager(*more_paths):
    return TaskManager(include_path=[str(TASKS), *map(str, more_paths)], include_defaults=False)


def load_task(name: str):
    task = task_manager().load(name)["tasks"][name]
    load_data([task])
    return task


def evaluate(model, *names, **options):
    """Return lm-eval's results of bundled tasks; its standard errors take few draws."""
    options = {"bootstrap_iters": 100} | options
    results = lm_eval.simple_evaluate(
        model=model, tasks=list(names), task_manager=task_manager(), **options
    )
    return plain_names(results)


def plain_names(results):
    """Return results with the names of 0.4, in which a task of a group is not named after it."""

    def plain(value):
        if isinstance(value, dict):
            return {own_name(key): each for key, each in value.items()}
        return value

    found = {key: plain(value) for key, value in results.items()}
    found["group_subtasks"] = {
        group: [own_name(task) for task in tasks]
        for group, tasks in results["group_subtasks"].items()
    }
    return found


def own_name(name):
    """Return a task's name without its group."""
    return name.rpartition("::")[2]


needs_official = pytest.mark.skipif(
    not (SHARED / "hub").is_dir() or not (SHARED / "sacrebleu").is_dir(),
    reason="there are no official rows beside the repository",
)
