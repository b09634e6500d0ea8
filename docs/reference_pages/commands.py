"""The page of the command line, made from the program itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from lm_eval_lora_boundary import cli

TITLE = "Commands"
# what stands for a value of a type
WORDS = {str: "TEXT", Path: "PATH", int: "N", float: "NUMBER"}


def text() -> str:
    """Return the page below its title."""
    commands = typer.main.get_group(cli.app).commands
    parts = [
        f"`lora-boundary` has {len(commands)} commands, and `lora-boundary COMMAND --help` prints "
        "what is here. A mistake in what you give ends in one line and exit status 2, Ctrl-C in "
        "130.\n",
    ]
    for name, command in commands.items():
        types = get_type_hints(command.callback)
        parts += [f"## {name}\n", *help_text(command.help or "")]
        for panel, options in by_panel(command).items():
            parts += [f"**{panel}**\n", options_table(options, types)]
    return "\n".join(parts)


def help_text(found: str) -> Iterator[str]:
    """Yield the paragraphs of a command's help; its example as code."""
    for paragraph in inspect.cleandoc(found).split("\n\n"):
        joined = " ".join(paragraph.split())
        example = re.fullmatch(r"Example: `(.+)`", joined)
        yield f"```sh\n{broken(example[1])}\n```\n" if example else f"{joined}\n"


def broken(command: str) -> str:
    """Return a command with a line break before every third option or so."""
    words = re.split(r" (?=--)", command)
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 85:
            lines.append("    " + word)
        else:
            lines[-1] += " " + word
    return " \\\n".join(lines)


def by_panel(command: Any) -> dict[str, list[Any]]:
    """Return the options and arguments of a command by the panel of its help."""
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.name == "help":
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        panels.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(parameter)
    return panels


def options_table(options: list[Any], types: dict[str, Any]) -> str:
    """Return a table of options."""
    rows = ["| option | meaning | default |", "|---|---|---|"]
    for option in options:
        name = option_name(option, types[option.name])
        rows.append(f"| {name} | {cell(option.help or '')} | {default(option)} |")
    return "\n".join(rows) + "\n"


def option_name(option: Any, kind: Any) -> str:
    """Return how an option is written, with what follows it."""
    name = option.opts[0]
    if option.param_type_name == "argument":
        return f"`{option.metavar or name.upper()}`"
    if bool in (kind, *get_args(kind)):
        return ", ".join(f"`{each}`" for each in [name, *option.secondary_opts])
    kinds = [each for each in (*get_args(kind), kind) if each in WORDS]
    return f"`{name} {option.metavar or WORDS[kinds[0]]}`"


def default(option: Any) -> str:
    if option.required:
        return "*required*"
    value = option.default
    if value in (None, "", ()) or isinstance(value, bool) or callable(value):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def cell(found: str) -> str:
    """Return text for a cell of a table, without what the next column says."""
    found = re.sub(r"\s*\[default: .*?\]$", "", " ".join(found.split()))
    return found.replace("|", "\\|")
