"""Read the probability of the gold answer at every layer, and find where it rises.

And its derivative by the strength of every layer's LoRA.

Knows: the forward and harness rooms, and of the report room the trace plots and the
rank correlation.
Must not know: sweeps, exports.
"""
