"""The lm-eval task for a user's own rows: each answer is generated, and each gold answer scored.

``lora-boundary sweep --write-task`` copies this file next to a YAML file, as ``utils.py``. It needs
lm-eval, datasets and rouge-score only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

ROWS = "rows.jsonl"  # next to the YAML file
LIKELIHOOD = "loglikelihood"  # name of the metric
WITH_TEMPLATE = "prompts_have_chat_template"  # in the task's metadata

# lm-eval 0.5 has a class for each kind of task, and a table of them
_Task: Any = getattr(ConfigurableTask, "_registry", {}).get("generate_until", ConfigurableTask)

# Chinese, Japanese and Korean are written without spaces between words
_WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\\W_]+")


def load(**_: Any) -> DatasetDict:
    """Return the rows in the file next to this module, by split."""
    text = (Path(__file__).parent / ROWS).read_text(encoding="utf-8")
    return by_split([json.loads(line) for line in text.split("\n") if line])


def by_split(rows: Sequence[Mapping[str, Any]]) -> DatasetDict:
    """Return rows as lm-eval takes them, by the split that each of them names."""
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        document = {name: value for name, value in row.items() if name != "split"}
        splits.setdefault(row["split"], []).append(document)
    return DatasetDict({split: Dataset.from_list(some) for split, some in splits.items()})


def exact_match(response: str, gold: str) -> float:
    """Return 1 if the response is the gold answer, else 0; both without spaces at the ends."""
    return float(response == gold)


def rougeL(response: str, gold: str) -> float:  # noqa: N802 - as everybody calls it
    """Return the F-measure of ROUGE-L, between 0 and 1, in words of any script."""
    return float(_scorer().score(target=gold, prediction=response)["rougeL"].fmeasure)


def loglikelihood(value: float, greedy: bool) -> float:
    """Return the log-likelihood of the gold answer after the prompt, in nats."""
    del greedy
    return value


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # takes time to import

    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """Divides texts into words. The tokenizer of rouge-score drops all letters beyond a to z."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text in lower case."""
        return _WORD.findall(text.lower())


class OwnDataTask(_Task):  # type: ignore[misc]
    """Rows with a prompt, or with the turns of a chat, and a gold answer."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Set up the task from the content of its YAML file."""
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, dataset_kwargs: Any = None, **_: Any) -> None:
        """Load the rows."""
        self.dataset = self.config.custom_dataset()

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int = 0,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Any = None,
        gen_prefix: str | None = None,
    ) -> Any:
        """Return the prompt of a row; all turns of a chat go through the template, once."""
        if num_fewshot:
            raise ValueError(f"num_fewshot={num_fewshot}: rows hold their whole prompts; give 0")
        template = self.config.metadata[WITH_TEMPLATE]
        if bool(apply_chat_template) != template:
            change = "add" if template else "leave out"
            raise ValueError(
                f"{self.task_name} was written for another prompt; {change} --apply_chat_template"
            )
        if "messages" not in doc:
            return super().fewshot_context(
                doc,
                num_fewshot=0,
                system_instruction=system_instruction,
                apply_chat_template=apply_chat_template,
                fewshot_as_multiturn=fewshot_as_multiturn,
                chat_template=chat_template,
                gen_prefix=gen_prefix,
            )
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in doc["messages"]]
        if system_instruction:
            turns.insert(0, {"role": "system", "content": system_instruction})
        return chat_template(turns)

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> list[Instance]:
        """Return two requests: to continue the prompt, and to score the gold answer after it."""
        built = super().construct_requests(doc, ctx, **kwargs)
        generated = built[0] if isinstance(built, list) else built  # 0.5 has a list
        gold = (ctx, doc["target"])
        scored = replace(generated, request_type="loglikelihood", arguments=gold, idx=1)
        scored.resps, scored.filtered_resps = [], {}
        return [generated, scored]

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        """Return the metrics of a row."""
        response, scored = results
        functions = self._functions()
        if "bypass" in functions:  # --predict_only
            found: dict[str, Any] = super().process_results(doc, [response])
            return found
        texts = (response.strip(), doc["target"].strip())
        return {
            name: function(*(scored if name == LIKELIHOOD else texts))
            for name, function in functions.items()
        }

    def _functions(self) -> dict[str, Any]:
        """Return the functions of the metrics by name."""
        if hasattr(self, "scorers"):  # 0.5
            return {each.name: each.fn for scorer in self.scorers for each in scorer.metrics}
        functions: dict[str, Any] = self._metric_fn_list
        return functions
