"""The help of every command, and its example."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

import pytest
import typer
from command_line import command_line

from lm_eval_lora_boundary import cli

COMMANDS = sorted(typer.main.get_group(cli.app).commands)


def test_the_commands_are_those_of_the_documentation() -> None:
    assert COMMANDS == ["compare", "demo", "export", "report", "sweep", "tasks", "trace", "train"]


def test_the_examples_tell_one_story() -> None:
    """Each takes the adapter that the first one trains, on the same model and task."""
    options = {}
    for name in ("train", "sweep", "trace", "export"):
        help_text = typer.main.get_group(cli.app).commands[name].help or ""
        (example,) = re.findall(r"Example: `(.+?)`", help_text, re.DOTALL)
        words = shlex.split(example)
        options[name] = {word: value for word, value in pairwise(words) if word.startswith("--")}
    assert len({options[name]["--pretrained"] for name in ("train", "sweep", "trace")}) == 1
    adapter = options["train"]["--output"]
    assert options["sweep"]["--peft"] == options["trace"]["--peft"] == adapter
    assert options["export"]["--from"] == options["sweep"]["--output"]
    task = options["train"]["--task"]
    assert options["sweep"]["--tasks"] == options["trace"]["--tasks"] == task
    # whose template sweep and trace take from its training.json, unless they are told otherwise
    assert "--apply-chat-template" in options["train"]
    assert not {"--no-template"} & {*options["sweep"], *options["trace"]}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str) -> None:
    done = command_line(name, "--help")
    assert done.code == 0, done.err
    assert "Example: " in done.out
    assert f"lora-boundary {name}" in done.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "tasks"])
def test_the_example_is_a_valid_command(name: str) -> None:
    command = typer.main.get_group(cli.app).commands[name]
    (example,) = re.findall(r"Example: `(.+?)`", command.help or "", re.DOTALL)
    program, used, *arguments = shlex.split(example)
    assert (program, used) == ("lora-boundary", name)
    with command.make_context(name, arguments) as context:  # parses, and does not run
        assert context.params


def test_version_and_short_help() -> None:
    from importlib.metadata import version

    assert command_line("--version").out == f"lora-boundary {version('lm-eval-lora-boundary')}\n"
    assert command_line("sweep", "-h").out == command_line("sweep", "--help").out


def test_lm_evals_spelling_of_options() -> None:
    command = typer.main.get_group(cli.app).commands["sweep"]
    given = "--adapter A --base B --tasks t --output_path out --batch_size auto --num_fewshot 2"
    root = typer.main.get_group(cli.app).make_context("lora-boundary", ["sweep"])
    with command.make_context("sweep", given.split(), parent=root) as context:
        found = context.params
    assert (found["peft"], found["pretrained"], str(found["output"])) == ("A", "B", "out")
    assert (found["batch_size"], found["num_fewshot"]) == (None, 2)
