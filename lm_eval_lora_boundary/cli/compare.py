"""``lora-boundary compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError

if TYPE_CHECKING:
    from ..compare import Comparison

_FORMATS = ("table", "markdown", "html")
_SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compare")(compare)


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT",
            help="Results files of lm-eval, folders that hold some, or folders of sweeps.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RESULT", help="Test every model against this one, document by document."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M[,FILTER]",
            help="What to show, of all tasks that have it; may be repeated. "
            "Default: the first metric of each task.",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks or groups, comma-separated, `*` for any text. Default: all."),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="`table`, `markdown` or `html`. Default: what the suffix of `--output` "
            "says, else a table in a terminal and Markdown elsewhere.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write, .md or .html.")
    ] = None,
) -> None:
    """Compare lm-eval results of any model, or see how far sweeps agree on a boundary.

    Results give models × tasks with 95 % intervals and, with `--baseline`, paired differences and
    tests on the same documents (lm-eval's `--log_samples`). A sweep among them stands for its base
    model, its best boundaries and the whole adapter. Sweeps alone, two or more: where their best
    boundaries are, and which boundaries are as good in all of them.

    Example: `lora-boundary compare out/base out/lora samsum-sweep --baseline out/lora
    --metric rouge1 --metric rougeL --output samsum.html`
    """
    chosen = _format(format_name, output)
    from ..compare import compare as run

    found = run(
        results,
        baseline=baseline,
        metrics=metric or (),
        tasks=[name.strip() for name in (tasks or "").split(",") if name.strip()],
    )
    if output is None:
        _show(found, chosen)
        return
    from ..files import write_text

    write_text(output, _rendered(found, chosen))
    print(output)


def _format(name: str | None, output: Path | None) -> str:
    """Return the format to write, before anything is read.

    Raises:
        OutputError: There is no such format, or a file's suffix does not tell.
    """
    if name is not None and name not in _FORMATS:
        raise OutputError(f"format={name} is unknown; expected one of {', '.join(_FORMATS)}")
    if name is not None:
        return name
    if output is None:
        return "table" if sys.stdout.isatty() else "markdown"
    if output.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"output={output}: the suffix tells no format; expected one of "
            f"{', '.join(_SUFFIXES)}, or --format"
        )
    return _SUFFIXES[output.suffix.lower()]


def _show(found: Comparison, chosen: str) -> None:
    """Print a comparison."""
    if chosen != "table":
        print(_rendered(found, chosen), end="")
        return
    from rich.console import Console

    from ..compare.terminal import parts

    console = Console()
    for part in parts(found):
        console.print(part)


def _rendered(found: Comparison, chosen: str) -> str:
    """Return a comparison as text."""
    if chosen == "markdown":
        return found.to_markdown()
    if chosen == "html":
        return found.to_html()
    from rich.console import Console

    from ..compare.terminal import parts

    console = Console(record=True, quiet=True, width=120)
    for part in parts(found):
        console.print(part)
    return console.export_text()
