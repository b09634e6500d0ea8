"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import LoraBoundaryError

# panels of the help
MODEL = "Model"
DATA = "Tasks and prompts"
RUN = "Engine"
LOGGING = "Logging"

Pretrained = Annotated[
    str, typer.Option(help="Hub id or local folder of the base model.", rich_help_panel=MODEL)
]
NamedBase = Annotated[
    str | None,
    typer.Option(
        help="Hub id or local folder of the base model. Default: the one that the adapter's config "
        "names.",
        rich_help_panel=MODEL,
    ),
]
Peft = Annotated[
    str,
    typer.Option(help="Hub id or local folder of the adapter.", rich_help_panel=MODEL),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="`validation` or `test`. Default: the first of them that a task has.",
        rich_help_panel=DATA,
    ),
]
Limit = Annotated[
    float | None,
    typer.Option(
        help="Use the first N documents of each task; below 1, this share of them.",
        rich_help_panel=DATA,
    ),
]
Dtype = Annotated[
    str, typer.Option(help="Precision, as for lm-eval's `hf`.", rich_help_panel=MODEL)
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N or mps. Default: the best one available.", rich_help_panel=MODEL
    ),
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="More arguments of lm-eval's `hf` model, as for `lm_eval`: revision, gguf_file, …; "
        "and peft_revision.",
        rich_help_panel=MODEL,
    ),
]
IncludePath = Annotated[
    str | None, typer.Option(help="Folder with more tasks.", rich_help_panel=DATA)
]
NumFewshot = Annotated[
    int | None,
    typer.Option(
        help="Few-shot examples in each prompt. Default: the task's own number.",
        rich_help_panel=DATA,
    ),
]
ApplyChatTemplate = Annotated[
    bool | None,
    typer.Option(
        "--apply-chat-template",
        help="Use the tokenizer's chat template; few-shot examples become turns of the chat. "
        "Default: as in the adapter's `training.json`; with chats as `--data`, yes; else no.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
NoTemplate = Annotated[
    bool,
    typer.Option(
        "--no-template",
        help="Do not use the chat template, whatever the adapter's `training.json` says.",
        rich_help_panel=DATA,
    ),
]
SystemInstruction = Annotated[
    str | None, typer.Option(help="System message.", rich_help_panel=DATA)
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace the results of other settings in the `--output` folder."),
]
AllRows = Annotated[
    bool,
    typer.Option("--all-rows", help="Print every boundary, and not only those that matter."),
]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Print every answer, and tables with all rows and columns; a table that does not fit "
        "is printed in several pieces.",
    ),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="lm-eval tasks, groups or tags, comma-separated; any with prompts and gold answers. "
        "Default: the task in the adapter's `training.json`.",
        rich_help_panel=DATA,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Rows of your own in place of a task: JSONL, JSON, CSV or Parquet, each row with "
        "`prompt` and `response` (or `completion`), or with the `messages` of a chat.",
        rich_help_panel=DATA,
    ),
]
NoTexts = Annotated[
    bool,
    typer.Option(
        "--no-texts",
        help="Leave prompts and answers out of the report and the samples files.",
        rich_help_panel=DATA,
    ),
]
HubLogArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="Push the results of every cut to the model hub, as with `lm_eval`: "
        "`push_results_to_hub=True`, `push_samples_to_hub=True`, `hub_results_org`, "
        "`results_repo_name`, `details_repo_name`, `public_repo`, …",
        rich_help_panel=LOGGING,
    ),
]
WandbArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="Log the results to W&B; arguments of `wandb.init` such as `project=NAME`, as for "
        "`lm_eval`.",
        rich_help_panel=LOGGING,
    ),
]
WandbConfigArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="More entries of the config of every W&B run, as for `lm_eval`.",
        rich_help_panel=LOGGING,
    ),
]
TrackioArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V,…",
        help="Log the results to trackio; arguments of `trackio.init` such as `project=NAME`, as "
        "for `lm_eval`.",
        rich_help_panel=LOGGING,
    ),
]
LogSamples = Annotated[
    bool,
    typer.Option(
        "--log-samples",
        help="Log the samples, too, to W&B and trackio: prompts, gold answers and responses. In "
        "the output folder they always are.",
        rich_help_panel=LOGGING,
    ),
]


def read_batch_size(text: str) -> int | None:
    """Read a number of rows; ``auto``, as lm-eval spells it, is as many as memory allows.

    Raises:
        LoraBoundaryError: It is neither.
    """
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise LoraBoundaryError(
            f"batch_size={text!r} cannot be used; expected a number of rows, or auto"
        ) from None
