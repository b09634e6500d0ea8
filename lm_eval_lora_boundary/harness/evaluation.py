"""lm-eval's own evaluation of one boundary, with answers that somebody else provides."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import lm_eval

from ..errors import ModelError
from .results import write_results
from .settings import EvaluationSettings
from .sweep_lm import AnswerSource, SweepLM
from .tasks import LoadedTasks, seed

_BOOTSTRAP_ITERS = 1000  # draws for those of lm-eval's standard errors that need them
_OF_EVALUATE = {
    *("results", "group_subtasks", "groups", "configs", "versions", "n-shot"),
    *("higher_is_better", "n-samples", "samples"),
}


class Evaluation:
    """Evaluates tasks at one boundary after another.

    Attributes:
        tasks: The tasks.
    """

    def __init__(self, lm: SweepLM, tasks: LoadedTasks, settings: EvaluationSettings) -> None:
        """Prepare.

        Args:
            lm: The model.
            tasks: The tasks.
            settings: The model and the prompts.

        Raises:
            ModelError: A chat template is asked for and there is none.
        """
        if settings.apply_chat_template and not lm.tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of {settings.pretrained} has no chat template; leave out "
                "--apply-chat-template"
            )
        self._lm = lm
        self.tasks = tasks
        self._settings = settings
        self._header: dict[str, Any] = {}  # what simple_evaluate returns besides results

    def at(
        self,
        boundary: int,
        answers: AnswerSource,
        samples: Mapping[str, Sequence[int]] | None = None,
        *,
        predict_only: bool = False,
    ) -> dict[str, Any]:
        """Evaluate a boundary.

        Args:
            boundary: The boundary.
            answers: Answers lm-eval's requests at this boundary.
            samples: Documents of each task; None for those of the settings.
            predict_only: Compute no metrics.

        Returns:
            What ``lm_eval.simple_evaluate`` returns, with samples.
        """
        with self._lm.evaluated(boundary, answers), without_chatter():
            return self._evaluate(samples, predict_only=predict_only)

    def _evaluate(
        self, samples: Mapping[str, Sequence[int]] | None, *, predict_only: bool
    ) -> dict[str, Any]:
        settings = self._settings
        limit = settings.documents if samples is None else None
        options: dict[str, Any] = {
            "limit": limit,
            "samples": None if samples is None else {task: list(i) for task, i in samples.items()},
            "bootstrap_iters": _BOOTSTRAP_ITERS,
            "system_instruction": settings.system_instruction,
            "apply_chat_template": settings.apply_chat_template,
            "fewshot_as_multiturn": settings.multiturn,
            "confirm_run_unsafe_code": settings.confirm_run_unsafe_code,
        }
        if not self._header or predict_only:
            results = lm_eval.simple_evaluate(
                model=self._lm,
                tasks=list(self.tasks.names),
                task_manager=self.tasks,
                num_fewshot=settings.num_fewshot,
                gen_kwargs=dict(settings.gen_kwargs) or None,
                predict_only=predict_only,
                **options,
            )
            assert results is not None  # None is for other processes than the first
            self._header = {key: results[key] for key in results.keys() - _OF_EVALUATE}
            return dict(results)
        # The tasks keep seeds and settings. What simple_evaluate finds out about the machine, the
        # libraries and the hub takes a second and does not change.
        seed()
        results = lm_eval.evaluate(lm=self._lm, task_dict=self.tasks.loaded, **options)
        assert results is not None
        header = copy.deepcopy(self._header)
        header["config"] |= self._lm.facts | {"limit": limit}
        return {**results, **header}

    def write(self, output: Path, boundary: int, results: dict[str, Any]) -> None:
        """Write lm-eval's files of a boundary."""
        settings = self._settings
        chat = settings.apply_chat_template
        write_results(
            output,
            boundary,
            results,
            settings.model,
            settings.model_arguments() | {"boundary": boundary},
            system_instruction=settings.system_instruction,
            chat_template=self._lm.chat_template(chat) if chat else None,
            fewshot_as_multiturn=settings.multiturn,
        )


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keep what lm-eval prints out of a file or pipe, where only results belong."""
    if sys.stdout.isatty():
        yield
        return
    with redirect_stdout(io.StringIO()):
        yield
