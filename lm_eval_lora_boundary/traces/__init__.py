"""Read the probability of the gold answer at every layer, and find where it rises.

And its derivative by the strength of every layer's LoRA.

Knows: the forward and harness rooms, and the trace plots of the report room.
Must not know: sweeps, exports.
"""
