"""The page of ``--model_args``, made from docstrings and from lm-eval's ``hf``."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from .docstrings import PACKAGE, Definition, arguments_of, definition, entries, sections

TITLE = "Model arguments"


def text() -> str:
    """Return the page below its title."""
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
