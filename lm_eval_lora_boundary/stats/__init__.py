"""Paired statistics on arrays of scores: intervals, p-values, which is best, which have lost.

Knows: numpy, scipy, sacrebleu.
Must not know: models, files, or what a boundary is beyond an integer.
"""
