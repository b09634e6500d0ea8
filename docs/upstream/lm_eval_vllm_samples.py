"""lm-eval's `vllm` samples if `generation_kwargs` of a task say nothing about it.

It needs no vLLM: only the arguments that lm-eval would pass on are looked at.
"""

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.utils import normalize_gen_kwargs

# 0.5 has a class for each kind of task
make = getattr(ConfigurableTask, "from_config", lambda config: ConfigurableTask(config=config))
documents = datasets.Dataset.from_dict({"x": ["question"], "y": ["answer"]})
settings = {
    "task": "made_up", "output_type": "generate_until", "test_split": "test",
    "custom_dataset": lambda **_: datasets.DatasetDict(test=documents),
    "doc_to_text": "{{x}}", "doc_to_target": "{{y}}",
}  # fmt: skip
passed = {}
for generation in (None, {"until": ["\n"]}, {"until": ["\n"], "do_sample": False}):
    config = settings if generation is None else settings | {"generation_kwargs": generation}
    task = make(dict(config))
    task.build_all_requests()
    # as lm_eval/models/vllm_causallms.py does in modify_gen_kwargs, which drops do_sample
    found = normalize_gen_kwargs(task.instances[0].args[1])
    passed[str(generation)] = found.get("temperature")
for generation, temperature in passed.items():
    what = "not given, so vLLM takes 1" if temperature is None else temperature
    print(f"generation_kwargs: {generation}: temperature {what}")
assert list(passed.values()) == [0.0, None, 0.0]
documentation = normalize_gen_kwargs.__doc__
assert "always be set to 0.0 if do_sample=False or do_sample is not specified" in documentation
