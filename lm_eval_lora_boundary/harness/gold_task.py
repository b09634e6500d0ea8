"""The variants of the bundled tasks that score the gold answer instead of generating one.

lm-eval's own output type ``loglikelihood`` takes a target without the space that separates it from
the prompt in training and in few-shot examples, so that the model would be asked for another text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..upstream.lm_eval import task_class

_Task: Any = task_class("loglikelihood")


class GoldTask(_Task):  # type: ignore[misc]
    """Scores the gold answer as it follows the prompt."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Set up the task from the content of its YAML file."""
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> Any:
        """Return the request to score the gold answer after the prompt."""
        # it begins the assistant's turn in a chat
        chat = bool(kwargs.get("apply_chat_template"))
        gold = str(self.doc_to_target(doc))
        text = gold if chat else f"{self.config.target_delimiter}{gold}"
        built = super().construct_requests(doc, ctx, **kwargs)
        if isinstance(built, list):  # 0.5
            return [replace(request, arguments=(ctx, text)) for request in built]
        return replace(built, arguments=(ctx, text))

    def process_results(self, doc: Any, results: Any) -> dict[str, float]:
        """Return the log-likelihood of the gold answer, in nats."""
        del doc
        loglikelihood, _ = results[0]
        return {"loglikelihood": loglikelihood}
