"""lm-eval's next line, 0.5: tasks that are scored by BLEU, chrF or TER cannot be evaluated."""

import datasets
import lm_eval
from lm_eval.api.task import Task

documents = datasets.Dataset.from_dict({"x": ["question"] * 3, "y": ["an answer"] * 3})
for metric in ("bleu", "chrf", "ter"):
    task = Task.from_config(
        {
            "task": "made_up", "output_type": "generate_until", "test_split": "test",
            "custom_dataset": lambda **_: datasets.DatasetDict(test=documents),
            "doc_to_text": "{{x}}", "doc_to_target": "{{y}}",
            "generation_kwargs": {"until": ["\n"]}, "metric_list": [{"metric": metric}],
        }
    )  # fmt: skip
    try:
        lm_eval.evaluate(
            lm_eval.api.registry.get_model("dummy")(),
            {"tasks": {"made_up": task}, "groups": {}, "group_map": {}},
        )
    except ValueError as error:
        print(f"{metric}: {error}")  # the pair (references, responses) is taken for two responses
    else:
        raise AssertionError(f"{metric} is computed")
