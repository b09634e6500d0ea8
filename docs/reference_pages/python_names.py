"""The page of the public Python names, made from docstrings."""

from __future__ import annotations

import ast

from .docstrings import PACKAGE, PUBLIC, SETTINGS, definition, described, markdown, sections

TITLE = "Python"


def text() -> str:
    """Return the page below its title."""
    names = ", ".join(sorted(name for names in PUBLIC.values() for name in names))
    parts = [
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
