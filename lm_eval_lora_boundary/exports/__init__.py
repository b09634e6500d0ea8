"""Write a cut as an adapter folder or a merged checkpoint, and verify it.

Knows: the file rules of PEFT and vLLM, the loader of the harness room, and the files of a sweep.
Must not know: how sweeps work, or vLLM itself.
"""
