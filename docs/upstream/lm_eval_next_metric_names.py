"""lm-eval's next line, 0.5: a task that computes `f1` itself is refused, as its own `drop`."""

import datasets
from lm_eval.api.task import Task

documents = datasets.Dataset.from_dict({"x": ["question"], "y": ["answer"]})


def f1(references, predictions):
    return 1.0


def make(metric):
    return Task.from_config(
        {
            "task": "made_up", "output_type": "generate_until", "test_split": "test",
            "custom_dataset": lambda **_: datasets.DatasetDict(test=documents),
            "doc_to_text": "{{x}}", "doc_to_target": "{{y}}",
            "generation_kwargs": {"until": ["\n"]},
            "process_results": lambda doc, results: {"f1": 1.0},
            "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
        }
    )  # fmt: skip


assert list(make(f1).aggregation()) == ["f1"]  # a function of that name is accepted
try:
    make("f1")
except ValueError as error:
    print(error)
else:
    raise AssertionError("the name is accepted")
