"""Answer token requests under many cuts in one pass through the model.

Knows: torch, transformers' decoder layers and cache, PEFT's LoRA layers.
Must not know: the cuts room (it is handed layers and numbers), lm-eval, processes. A tokenizer is
reached through the `Host` protocol only.
"""
