"""What an adapter changes in a base model, and cutting it: keeping some layers, dropping others.

Knows: PEFT, transformers, accelerate's offloading, and the files of an adapter folder.
Must not know: lm-eval, the files of a sweep, processes, engines.
"""
