"""``trace()`` for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..harness.given import settings_from_python
from ..harness.settings import output_folder
from .run import run
from .settings import TraceSettings


def trace(
    pretrained: str | PreTrainedModel | None,
    peft: str | Path,
    tasks: str | Sequence[str] | None = None,
    output: str | Path | None = None,
    *,
    data: str | Path | None = None,
    boundaries: str | Sequence[int] = (),
    keep: str | Sequence[str] = (),
    force: bool = False,
    model_args: str | Mapping[str, Any] = "",
    **settings: Any,
) -> dict[str, Any]:
    """Read the probability of the gold answers of lm-eval tasks at every layer.

    >>> from lm_eval_lora_boundary import trace  # doctest: +SKIP
    >>> found = trace("org/base", "org/adapter", "gsm8k", "out", limit=100)  # doctest: +SKIP
    >>> found["tasks"]["gsm8k"]["candidate"]  # doctest: +SKIP

    Args:
        pretrained: Base model: hub id, local folder, or a loaded model, which is changed; None for
            the one that the adapter's config names.
        peft: Adapter: hub id or local folder.
        tasks: Names of lm-eval tasks, groups or tags; text with commas or a list. None for
            ``data``, or for the task that the adapter's ``training.json`` names.
        output: Folder for ``trace.json``, the readings of every document, and plots; its other
            files stay.
        data: A file with rows of your own, in place of tasks; see docs/own-data.md.
        boundaries: Boundaries to trace besides the whole adapter and the base model: a range
            ``"5-9"``, a list ``"10,20"`` or ``[10, 20]``.
        keep: Another cut to trace, or several, each as in :func:`.parse_keep`.
        force: Replace a trace with other settings in this folder; without it, it is refused.
        model_args: Further arguments of lm-eval's ``hf`` model.
        **settings: The other attributes of :class:`.TraceSettings`, such as ``gradient=True``.

    Returns:
        The content of ``trace.json``.

    Raises:
        LoraBoundaryError: An argument cannot be used; its subclass tells which.
    """
    folder = output_folder(output)
    chosen, model = settings_from_python(
        TraceSettings,
        pretrained,
        peft,
        tasks,
        boundaries=boundaries,
        keep=(keep,) if isinstance(keep, str) else tuple(keep),
        data=data,
        model_args=model_args,
        **settings,
    )
    return run(chosen, folder, model=model, force=force)
