"""``sweep()`` for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..cuts.families import DEFAULT
from ..harness.given import settings_from_python
from ..harness.settings import as_names, output_folder
from .run import run
from .settings import MARGIN, SweepSettings


def sweep(
    pretrained: str | PreTrainedModel | None,
    peft: str | Path,
    tasks: str | Sequence[str] | None = None,
    output: str | Path | None = None,
    *,
    data: str | Path | None = None,
    boundaries: str | Sequence[int] = "all",
    family: str | Sequence[str] = DEFAULT,
    control: str | Sequence[str] = (),
    margin: str | float = MARGIN,
    force: bool = False,
    speed: bool = False,
    model_args: str | Mapping[str, Any] = "",
    gen_kwargs: str | Mapping[str, Any] = "",
    **settings: Any,
) -> dict[str, Any]:
    """Score every boundary of an adapter, or other cuts of it; the model is loaded once.

    >>> from lm_eval_lora_boundary import sweep  # doctest: +SKIP
    >>> found = sweep("org/base", "org/adapter", "gsm8k", "out", limit=100)  # doctest: +SKIP
    >>> found["tasks"]["gsm8k"]["best"]  # doctest: +SKIP

    If a sweep is interrupted, the same call resumes it.

    Args:
        pretrained: Base model: hub id, local folder, or a loaded model, which is changed; None for
            the one that the adapter's config names.
        peft: Adapter: hub id or local folder.
        tasks: Names of lm-eval tasks, groups or tags; text with commas or a list. None for
            ``data``, or for the task that the adapter's ``training.json`` names.
        output: Folder for ``sweep.json``, the stored answers, and lm-eval's own files for every
            cut, in ``boundary=K/`` or ``cut=CUT/``.
        data: A file with rows of your own, in place of tasks; see docs/own-data.md.
        boundaries: ``"all"``, a range ``"0-29"``, a list ``"10,20"`` or ``[10, 20]``. The base
            model and the whole adapter are always scored, too.
        family: Families of cuts to score, as text with commas or a list: ``upper`` (the
            boundaries), ``lower``, ``random:SEED``, …; see :mod:`..cuts.families`.
        control: Names of further tasks to score under the same cuts, as for ``tasks``.
        margin: How much a cut may lose and still count as keeping the gain: a share such as
            ``"10%"``, or a loss in the metric's unit such as ``0.02``.
        force: Replace the results of a run with other settings in this folder; without it, they
            are refused. Answers that are stored stay.
        speed: In the end, measure for a few seconds how long a token takes with the choice, the
            whole adapter and the base model, and write ``speed.json``.
        model_args: Further arguments of lm-eval's ``hf`` model; text as for ``lm_eval``.
        gen_kwargs: Generation arguments that override those of the tasks; text as for
            ``lm_eval``.
        **settings: The other attributes of :class:`.SweepSettings`.

    Returns:
        The content of ``sweep.json``.

    Raises:
        LoraBoundaryError: An argument cannot be used; its subclass tells which.
    """
    folder = output_folder(output)
    chosen, model = settings_from_python(
        SweepSettings,
        pretrained,
        peft,
        tasks,
        boundaries=boundaries,
        family=as_names(family),
        control=as_names(control),
        margin=str(margin),
        data=data,
        model_args=model_args,
        gen_kwargs=gen_kwargs,
        **settings,
    )
    return run(chosen, folder, model=model, force=force, speed=speed)
