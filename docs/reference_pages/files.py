"""The page of the JSON formats, made from the JSON Schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLE = "Files"
SCHEMAS = Path(__file__).resolve().parent.parent / "reference" / "schemas"


def text() -> str:
    """Return the page below its title."""
    parts = [
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
