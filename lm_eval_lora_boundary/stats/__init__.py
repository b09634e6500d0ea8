"""Paired statistics on arrays of scores, and the decisions based on them.

Knows: numpy, scipy, sacrebleu.
Must not know: models, files, or what a boundary is beyond an integer.
"""
