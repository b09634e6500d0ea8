"""Read the probability of the gold answer at every layer, and find where it rises.

Knows: the forward and harness rooms, and the trace plots of the report room.
Must not know: sweeps, exports.
"""
