"""``python -m lm_eval_lora_boundary``, for launchers that start modules."""

from .cli import main

main()
