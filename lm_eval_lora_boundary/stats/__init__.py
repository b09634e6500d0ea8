"""Arrays of scores in, numbers and decisions out.

Knows: numpy, scipy, sacrebleu.
Must not know: models, files, or what a boundary is beyond an integer.
"""
