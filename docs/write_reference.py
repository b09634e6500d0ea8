"""Write the pages of the reference that come from the code.

    python docs/write_reference.py           # after a change of commands, arguments or schemas
    python docs/write_reference.py --check   # status 1 if a page is not what this would write

``reference/commands.md`` is made from the command line, ``reference/model-arguments.md`` and
``reference/python.md`` from docstrings and from lm-eval's ``hf``, and ``reference/files.md`` from
the JSON Schemas. Nothing heavy is imported, so this takes a second.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from docstrings import (  # noqa: E402
    PACKAGE,
    PUBLIC,
    SETTINGS,
    Definition,
    arguments_of,
    definition,
    described,
    entries,
    markdown,
    sections,
)

from lm_eval_lora_boundary import cli  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = REFERENCE / "schemas"
# what stands for a value of a type
WORDS = {str: "TEXT", Path: "PATH", int: "N", float: "NUMBER"}
WRITTEN = "<!-- Written by docs/write_reference.py. Change the code instead. -->\n"


def pages() -> dict[Path, str]:
    """Return every page with its text."""
    return {
        REFERENCE / "commands.md": commands_page(),
        REFERENCE / "model-arguments.md": model_arguments_page(),
        REFERENCE / "files.md": files_page(),
        REFERENCE / "python.md": python_page(),
    }


# --- commands


def commands_page() -> str:
    """Return the page of the command line."""
    commands = typer.main.get_group(cli.app).commands
    parts = [
        "# Commands\n",
        WRITTEN,
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


def help_text(text: str) -> Iterator[str]:
    """Yield the paragraphs of a command's help; its example as code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
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


def cell(text: str) -> str:
    """Return text for a cell of a table, without what the next column says."""
    text = re.sub(r"\s*\[default: .*?\]$", "", " ".join(text.split()))
    return text.replace("|", "\\|")


# --- model arguments


def model_arguments_page() -> str:
    """Return the page of ``--model_args``."""
    model = definition(PACKAGE / "harness" / "model.py", "__init__")
    cut = definition(PACKAGE / "harness" / "model_args.py", "open_cut")
    ours = arguments_of(model)
    meanings = arguments_section(model) | arguments_section(cut)
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "models" / "huggingface.py"
    theirs = arguments_of(definition(source, "__init__"))
    return "\n".join(
        [
            "# Model arguments\n",
            WRITTEN,
            "`lm_eval --model lora_boundary` and `--model lora_boundary_vllm` take these in "
            "`--model_args`, and `LoraBoundaryLM` takes them as arguments:\n",
            "| argument | meaning | default |",
            "|---|---|---|",
            *(
                f"| `{name}` | {meanings[name]} | {shown(value)} |"
                for name, value in ours.items()
                if name != "self"
            ),
            "\nAll other arguments go to lm-eval's own models: to `vllm` for `lora_boundary_vllm`, "
            "and to `hf` for `lora_boundary`. In lm-eval's current release, `hf` takes, besides "
            "all that transformers' `from_pretrained` takes:\n",
            "| argument | default |",
            "|---|---|",
            *(f"| `{name}` | {shown(theirs[name])} |" for name in theirs if name not in ours),
            "\nHow a cut is written, for `keep=`:\n",
            "| cut | keeps |",
            "|---|---|",
            "| `0-20` | LoRA in layers 0 to 20, as `boundary=20` does |",
            "| `0-9+20-29` | these two ranges of layers |",
            "| `0-9+10-19@0.5` | layers 0 to 9, and layers 10 to 19 at half strength |",
            "| `all@0.7` | all layers, at 0.7 of their strength |",
            "| `all`, `none` | the whole adapter, and the base model |",
            "",
        ]
    )


def arguments_section(node: Definition) -> dict[str, str]:
    """Return what the docstring of a function says about its arguments."""
    return entries(sections(ast.get_docstring(node) or "")["Args"])


def shown(value: str | None) -> str:
    """Return a default for a cell."""
    return "" if value in (None, "None") else f"`{value}`"


# --- Python


def python_page() -> str:
    """Return the page of the public Python names."""
    names = ", ".join(sorted(name for names in PUBLIC.values() for name in names))
    parts = [
        "# Python\n",
        WRITTEN,
        "The public names are these five. They are imported when they are first used, so "
        "`import lm_eval_lora_boundary` takes no time.\n",
        f"```python\nfrom lm_eval_lora_boundary import {names}\n```\n",
    ]
    parts += every(PUBLIC, "##")
    parts += [
        "## Settings\n",
        "`sweep` and `trace` take the attributes of these as further arguments: both those of "
        "`EvaluationSettings`, and each its own.\n",
        *every(SETTINGS, "###"),
        "## Comparing\n",
        *described(definition(PACKAGE / "compare" / "api.py", "compare"), "###"),
        "## Errors\n",
        "Whatever a user can get wrong is one of these, with a message of one line.\n",
        "| error | |",
        "|---|---|",
    ]
    tree = ast.parse((PACKAGE / "errors.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            first = sections(ast.get_docstring(node) or "")[""].strip().split("\n\n")[0]
            parent = ", ".join(ast.unparse(base) for base in node.bases)
            parts.append(f"| `{node.name}` (a `{parent}`) | {markdown(first)} |")
    return "\n".join(parts)


def every(files: dict[str, list[str]], level: str) -> list[str]:
    """Return the descriptions of the names in files."""
    return [
        part
        for file, names in files.items()
        for name in names
        for part in described(definition(PACKAGE / file, name), level)
    ]


# --- files


def files_page() -> str:
    """Return the page of the JSON formats."""
    parts = [
        "# Files\n",
        WRITTEN,
        "What the commands write as JSON, with a [JSON Schema](https://json-schema.org/) of each. "
        "More keys may follow in later versions; those here keep their meaning. A number that "
        "cannot be computed is `null`. The files of lm-eval beside them (`results_*.json`, "
        "`samples_*.jsonl`) have lm-eval's own formats.\n",
        "| file | written by | schema |",
        "|---|---|---|",
    ]
    schemas = {path: json.loads(path.read_text("utf-8")) for path in sorted(SCHEMAS.glob("*.json"))}
    for path, schema in schemas.items():
        title, _, by = schema["title"].partition(", written by ")
        anchor = title.replace(".", "")
        parts.append(f"| [`{title}`](#{anchor}) | {by} | [{path.name}](schemas/{path.name}) |")
    parts.append("")
    for schema in schemas.values():
        title = schema["title"].partition(", written by ")[0]
        known = {name: f"{name} in {title}" for name in schema.get("$defs", {})}
        parts += [f"## {title}\n", schema["description"] + "\n", keys_table(schema, known)]
        for name, inner in schema.get("$defs", {}).items():
            if "properties" in inner:
                parts += [f"### {name} in {title}\n", inner["description"] + "\n"]
                parts.append(keys_table(inner, known))
    return "\n".join(parts)


def keys_table(schema: dict[str, Any], known: dict[str, str]) -> str:
    """Return a table of the keys of an object, with links to the objects in it."""
    required = set(schema.get("required", ()))
    rows = ["| key | type | meaning |", "|---|---|---|"]
    for key, value in schema["properties"].items():
        optional = "" if key in required else " (not always there)"
        meaning = value.get("description", "").replace("|", "\\|")
        rows.append(f"| `{key}` | {type_of(value, known)} | {meaning}{optional} |")
    return "\n".join(rows) + "\n"


def type_of(schema: dict[str, Any], known: dict[str, str]) -> str:
    """Return a type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{known[name].replace('.', '').replace(' ', '-').lower()})"
    if "anyOf" in schema:
        return " or ".join(type_of(each, known) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}), known)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object, each value: {type_of(schema['additionalProperties'], known)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def main() -> None:
    """Write the pages, or check them."""
    stale = []
    for path, text in pages().items():
        text = text.rstrip("\n") + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run python docs/write_reference.py")


if __name__ == "__main__":
    main()
