"""Read the probability of the gold answer at every layer, and find where it rises.

Knows: the forward and harness rooms, the trace plots of the report room, the array type of stats.
Must not know: sweeps, exports.
"""
