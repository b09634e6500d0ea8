"""``python -m lm_eval_lora_boundary``: the command line, for launchers that start modules."""

from .cli import main

main()
