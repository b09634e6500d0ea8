"""The vLLM model, and the vLLM engine of a sweep.

Knows: vLLM, exports, the harness room.
Must not know: sweeps, traces.
"""
