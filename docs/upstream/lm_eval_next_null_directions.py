"""lm-eval's next line, 0.5: `higher_is_better: null` is reported as true."""

import datasets
from lm_eval.api.task import Task

documents = datasets.Dataset.from_dict({"x": ["question"], "y": ["answer"]})
task = Task.from_config(
    {
        "task": "made_up", "output_type": "generate_until", "test_split": "test",
        "custom_dataset": lambda **_: datasets.DatasetDict(test=documents),
        "doc_to_text": "{{x}}", "doc_to_target": "{{y}}", "generation_kwargs": {"until": ["\n"]},
        "process_results": lambda doc, results: {"length": 1.0},
        "metric_list": [{"metric": "length", "aggregation": "mean", "higher_is_better": None}],
    }
)  # fmt: skip
print(f"higher_is_better: {task.higher_is_better()}")
assert task.higher_is_better() == {"length": True}
