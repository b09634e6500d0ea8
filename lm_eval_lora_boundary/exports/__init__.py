"""Write a cut as an adapter folder or a merged checkpoint, and verify it.

Knows: the file rules of PEFT and vLLM, and the loader of the harness room.
Must not know: sweeps, or vLLM itself.
"""
