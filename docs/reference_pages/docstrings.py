"""Read signatures and Google-style docstrings from source files, without importing them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "lm_eval_lora_boundary"
# what is public, by the file that defines it
PUBLIC = {
    "cuts/apply.py": ["apply_boundary"],
    "sweeps/api.py": ["sweep"],
    "traces/api.py": ["trace"],
    "exports/api.py": ["export"],
    "harness/model.py": ["LoraBoundaryLM"],
}
SETTINGS = {
    "harness/settings.py": ["EvaluationSettings"],
    "sweeps/settings.py": ["SweepSettings"],
    "traces/settings.py": ["TraceSettings"],
}
Definition = ast.FunctionDef | ast.ClassDef


def definition(file: Path, name: str) -> Definition:
    """Return the first function or class of a name in a file, methods included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, Definition) and node.name == name:
            return node
    raise LookupError(f"{name} is not in {file}")


def arguments_of(node: Definition) -> dict[str, str | None]:
    """Return the arguments of a function with their defaults as code; None without one."""
    assert isinstance(node, ast.FunctionDef)
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults, *arguments.kw_defaults]
    names = [argument.arg for argument in (*positional, *arguments.kwonlyargs)]
    return {
        name: None if value is None else ast.unparse(value)
        for name, value in zip(names, defaults, strict=True)
    }


def sections(text: str) -> dict[str, str]:
    """Return the sections of a docstring, dedented; what comes before them is under ``""``."""
    found = {"": ""}
    name = ""
    for line in text.splitlines():
        heading = re.fullmatch(r"(Args|Returns|Raises|Attributes|Yields):", line)
        if heading:
            name = heading[1]
            found[name] = ""
        elif name and line and not line.startswith(" "):
            name = ""
            found[""] += line + "\n"
        else:
            found[name] += (line.removeprefix("    ") if name else line) + "\n"
    return found


def entries(section: str) -> dict[str, str]:
    """Return the entries of a section such as ``Args``, in Markdown."""
    found = re.findall(r"^(\*{0,2}\w+): (.*?)(?=^\S|\Z)", section, re.MULTILINE | re.DOTALL)
    return {name: markdown(meaning) for name, meaning in found}


def markdown(text: str) -> str:
    """Return the text of a docstring in Markdown, on one line."""
    text = re.sub(r":\w+:`[.~]*([^`]*)`", r"`\1`", " ".join(text.split()))
    text = text.replace(", as in `parse_keep`,", " (see below)").replace("; None for", "; unset:")
    return text.replace("``", "`").replace("|", "\\|")


def table(section: str, heading: str) -> list[str]:
    """Return the entries of a section as a table."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in entries(section).items()]
    return [f"| {heading} | |", "|---|---|", *rows, ""]


def described(node: Definition, level: str = "###", heading: str = "") -> list[str]:
    """Return the description of a function or class in Markdown."""
    function = node
    found = sections(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
        function = next((each for each in methods if each.name == "__init__"), node)
        if function is not node:
            of_init = sections(ast.get_docstring(function) or "")
            found |= {name: text for name, text in of_init.items() if name}
    parts = [f"{level} {heading or node.name}\n"]
    if isinstance(function, ast.FunctionDef):
        parts += [f"```python\n{signature(node.name, function)}\n```\n"]
    parts += paragraphs(found[""])
    for name, title in (("Args", "argument"), ("Attributes", "attribute")):
        if name in found:
            parts += table(found[name], title)
    if "Returns" in found:
        parts += [f"**Returns** {markdown(found['Returns'])}\n"]
    if "Raises" in found:
        parts += table(found["Raises"], "raises")
    return parts


def signature(name: str, function: ast.FunctionDef) -> str:
    """Return how a function is called, without annotations."""
    positional = len(function.args.posonlyargs) + len(function.args.args)
    words = []
    for place, (argument, default) in enumerate(arguments_of(function).items()):
        if place == positional:
            words.append("*")
        words.append(argument if default is None else f"{argument}={default}")
    if function.args.kwarg:
        words.append(f"**{function.args.kwarg.arg}")
    inside = ", ".join(word for word in words if word != "self")
    if len(name) + len(inside) < 85:
        return f"{name}({inside})"
    return f"{name}(\n" + "".join(f"    {word},\n" for word in inside.split(", ")) + ")"


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a docstring; examples as code."""
    parts = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith(">>>"):
            code = re.sub(r"^(>>>|\.\.\.) ?", "", paragraph, flags=re.MULTILINE)
            parts.append(f"```python\n{re.sub(r'  # doctest.*', '', code)}\n```\n")
        elif paragraph:
            parts.append(re.sub(r"(?<!\\)\|", "|", markdown(paragraph)).replace("\\|", "|") + "\n")
    return parts
