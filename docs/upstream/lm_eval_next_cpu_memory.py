"""lm-eval's next line, 0.5: `max_cpu_memory` of `hf` has no effect, nor is any CPU used."""

from lm_eval.models.huggingface import HFLM

arguments = HFLM._get_accelerate_args(
    object.__new__(HFLM), parallelize=True, max_cpu_memory="1GiB", gpus=0
)
print(f"max_memory: {arguments['max_memory']}")
assert "cpu" not in arguments["max_memory"]
