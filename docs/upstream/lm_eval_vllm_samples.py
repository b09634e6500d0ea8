"""lm-eval's `vllm` samples at vLLM's default temperature, 1, unless a task says `do_sample: false`.

It needs no vLLM: only the arguments that lm-eval would pass on are looked at.
"""

from lm_eval.models.utils import normalize_gen_kwargs

for task in ({"until": ["\n"]}, {"until": ["\n"], "do_sample": False}):
    # what lm_eval/models/vllm_causallms.py does in modify_gen_kwargs
    passed = normalize_gen_kwargs(task)
    passed.pop("do_sample")
    print(f"{task} -> temperature {passed.get('temperature', 'not given: vLLM takes 1')}")

documentation = normalize_gen_kwargs.__doc__
assert "always be set to 0.0 if do_sample=False or do_sample is not specified" in documentation
assert "temperature" not in normalize_gen_kwargs({"until": ["\n"]})
