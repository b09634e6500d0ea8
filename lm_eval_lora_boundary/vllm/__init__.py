"""The vLLM model, the vLLM engine of a sweep, and vLLM as the engine that verifies an export.

Knows: vLLM, exports, the harness room.
Must not know: sweeps, traces.
"""
