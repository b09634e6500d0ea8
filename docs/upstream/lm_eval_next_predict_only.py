"""lm-eval's next line, 0.5: `--predict_only` fails for every task that generates text."""

import datasets
import lm_eval
from lm_eval.api.task import Task

documents = datasets.Dataset.from_dict({"x": ["question"] * 3, "y": ["answer"] * 3})
task = Task.from_config(
    {
        "task": "made_up", "output_type": "generate_until", "test_split": "test",
        "custom_dataset": lambda **_: datasets.DatasetDict(test=documents),
        "doc_to_text": "{{x}}", "doc_to_target": "{{y}}", "generation_kwargs": {"until": ["\n"]},
    }
)  # fmt: skip
task.override_metric("bypass")  # as simple_evaluate(predict_only=True) does
try:
    lm_eval.evaluate(
        lm_eval.api.registry.get_model("dummy")(),
        {"tasks": {"made_up": task}, "groups": {}, "group_map": {}},
    )
except TypeError as error:
    print(error)
else:
    raise AssertionError("it works")
