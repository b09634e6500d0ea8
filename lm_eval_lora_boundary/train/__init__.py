"""Supervised LoRA fine-tuning on the prompts and targets of an lm-eval task.

Knows: TRL, and the tasks and prompts of the harness room.
Must not know: sweeps, statistics, reports.
"""
