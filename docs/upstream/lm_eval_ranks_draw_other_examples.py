"""In lm-eval, few-shot examples depend on how many processes share the documents."""

import datasets
from lm_eval.api.task import ConfigurableTask

# 0.5 has a class for each kind of task
make = getattr(ConfigurableTask, "from_config", lambda config: ConfigurableTask(config=config))
documents = datasets.Dataset.from_dict({"x": [f"question {i}" for i in range(8)], "y": ["yes"] * 8})
settings = {
    "task": "made_up", "output_type": "generate_until", "test_split": "test", "num_fewshot": 1,
    "custom_dataset": lambda **_: datasets.DatasetDict(train=documents, test=documents),
    "fewshot_split": "train", "doc_to_text": "{{x}}", "doc_to_target": "{{y}}",
}  # fmt: skip


def prompts(world_size):
    found = {}
    for rank in range(world_size):
        task = make(dict(settings))
        task.set_fewshot_seed(1234)  # as simple_evaluate does
        task.build_all_requests(rank=rank, world_size=world_size)
        found |= {instance.doc_id: instance.args[0] for instance in task.instances}
    return found


one, two = prompts(1), prompts(2)
changed = [number for number in one if one[number] != two[number]]
print(f"documents with another prompt if two processes share them: {changed}")
assert one.keys() == two.keys() and changed
try:
    prompts(9)
except ValueError as error:
    print(f"nine processes, eight documents: ValueError: {error}")
else:
    raise AssertionError("a process without documents works")
