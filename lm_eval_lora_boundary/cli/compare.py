"""``lora-boundary compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from ..compare import Comparison

_FORMATS = ("table", "markdown", "html")
_SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html"}


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT",
            help="Results files of lm-eval, folders that contain some, or folders of sweeps.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RESULT",
            help="Test every model against this one, document by document. Default: the first of "
            "exactly two models.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M[,FILTER]",
            help="Metric to show, for all tasks that have it; may be repeated. "
            "Default: the first metric of each task.",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks or groups, comma-separated; `*` matches any text. Default: all."),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="`table`, `markdown` or `html`. Default: by the suffix of `--output`; without "
            "`--output` a table in a terminal, and Markdown elsewhere.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write, .md or .html.")
    ] = None,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Print all columns; a table that does not fit is printed in several pieces.",
        ),
    ] = False,
) -> None:
    """Compare lm-eval results of any models, or see how far sweeps agree on a boundary.

    Prints a table of models × tasks with 95 % intervals. Two models are compared document by
    document, and so are more with `--baseline`: paired differences, their intervals and tests,
    on the documents that both answered, which lm-eval's `--log_samples` records. A sweep stands for
    its base model, its best boundaries and the whole adapter. If all results are sweeps, two or
    more, it shows the best boundary of each, how far it moves, and what each boundary is worth on
    average over adapters that were trained with other seeds.

    Example: `lora-boundary compare out/base out/lora`, or
    `lora-boundary compare out/base out/lora samsum-sweep --baseline out/lora
    --metric rouge1 --metric rougeL --output samsum.html`
    """
    chosen = _check_format(format_name, output)
    from ..compare import compare as run

    comparison = run(
        results,
        baseline=baseline,
        metrics=metric or (),
        tasks=[name.strip() for name in (tasks or "").split(",") if name.strip()],
    )
    if output is not None:
        from ..files import write_text

        write_text(output, _as_text(comparison, chosen, wide))
        print(output)
    elif chosen == "table":
        from rich.console import Console

        _print_table(comparison, Console(), wide)
    else:
        print(_as_text(comparison, chosen, wide), end="")


def _check_format(name: str | None, output: Path | None) -> str:
    """Return the format to write.

    Raises:
        OutputError: The format is unknown, or the suffix of the file does not tell it.
    """
    if name is not None and name not in _FORMATS:
        raise OutputError(f"format={name} is unknown; expected one of {', '.join(_FORMATS)}")
    if name is not None:
        return name
    if output is None:
        return "table" if sys.stdout.isatty() else "markdown"
    if output.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"output={output} has an unknown suffix; expected one of {', '.join(_SUFFIXES)}, "
            "or give --format"
        )
    return _SUFFIXES[output.suffix.lower()]


def _print_table(comparison: Comparison, console: Console, wide: bool) -> None:
    from ..compare.terminal import parts

    for part in parts(comparison, wide=wide):
        console.print(part)


def _as_text(comparison: Comparison, chosen: str, wide: bool) -> str:
    if chosen == "markdown":
        return comparison.to_markdown()
    if chosen == "html":
        return comparison.to_html()
    from rich.console import Console

    console = Console(record=True, quiet=True, width=120)
    _print_table(comparison, console, wide)
    return console.export_text()
