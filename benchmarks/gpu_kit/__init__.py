"""The sections of ``benchmarks/gpu.py``: what a GPU must show, each in a function of its own."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface-hub is imported
