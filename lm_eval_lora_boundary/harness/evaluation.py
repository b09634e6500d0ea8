"""lm-eval's own evaluation of one cut, with answers from another source."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import lm_eval

from ..cuts.keep import Cut
from ..upstream.lm_eval import compute_no_metrics, directions, quiet_git
from .prompts import require_chat_template
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
    """Evaluates tasks under one cut after another.

    Attributes:
        tasks: The tasks.
    """

    def __init__(self, lm: SweepLM, tasks: LoadedTasks, settings: EvaluationSettings) -> None:
        """Prepare; nothing is evaluated yet.

        Raises:
            ModelError: The settings ask for a chat template and the tokenizer has none.
        """
        if settings.apply_chat_template:
            require_chat_template(lm.tokenizer, settings.pretrained)
        self._lm = lm
        self.tasks = tasks
        self._settings = settings
        self._header: dict[str, Any] = {}  # what simple_evaluate returns besides results

    def at(
        self,
        cut: Cut,
        answers: AnswerSource | None = None,
        samples: Mapping[str, Sequence[int]] | None = None,
        *,
        predict_only: bool = False,
    ) -> dict[str, Any]:
        """Evaluate a cut.

        Args:
            cut: The cut.
            answers: Answers lm-eval's requests; None if the model does so itself.
            samples: Document numbers by task; None for the documents of the settings.
            predict_only: Compute no metrics.

        Returns:
            What ``lm_eval.simple_evaluate`` returns, with samples.
        """
        settings = self._settings
        options: dict[str, Any] = {
            "limit": settings.documents if samples is None else None,
            "samples": None if samples is None else {task: list(i) for task, i in samples.items()},
            "bootstrap_iters": _BOOTSTRAP_ITERS,
            **settings.evaluation_options(),
        }
        with self._lm.evaluated(cut, answers), _quiet():
            if predict_only:
                compute_no_metrics(self.tasks.tasks.values())
                return self._simple_evaluate(options, predict_only=True)
            if not self._header:
                return self._with_directions(self._simple_evaluate(options, predict_only=False))
            # The tasks keep seeds and settings. What simple_evaluate finds out about the machine,
            # the libraries and the hub takes a second and does not change.
            seed()
            results = lm_eval.evaluate(lm=self._lm, task_dict=self.tasks.loaded, **options)
        assert results is not None
        header = copy.deepcopy(self._header)
        header["config"] |= self._lm.facts | {"limit": options["limit"]}
        return self._with_directions({**results, **header})

    def _with_directions(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return results that say of no metric that higher is better if its task does not."""
        own = {name: directions(task) for name, task in self.tasks.tasks.items()}
        return {**results, "higher_is_better": {**results["higher_is_better"], **own}}

    def _simple_evaluate(self, options: dict[str, Any], *, predict_only: bool) -> dict[str, Any]:
        with quiet_git():
            results = lm_eval.simple_evaluate(
                model=self._lm,
                tasks=list(self.tasks.names),
                task_manager=self.tasks,
                num_fewshot=self._settings.num_fewshot,
                gen_kwargs=self._settings.generation or None,
                predict_only=predict_only,
                **options,
            )
        assert results is not None  # None is for other processes than the first
        self._header = {key: results[key] for key in results.keys() - _OF_EVALUATE}
        return dict(results)

    def write(self, output: Path, cut: Cut, results: dict[str, Any]) -> None:
        """Write lm-eval's files of a cut."""
        chat = self._settings.apply_chat_template
        template = self._lm.chat_template(chat) if chat else None
        write_results(output, cut, results, self._settings, template)


def _quiet() -> AbstractContextManager[Any]:
    """Keep what lm-eval prints out of a file or pipe, where only results belong."""
    return nullcontext() if sys.stdout.isatty() else redirect_stdout(io.StringIO())
