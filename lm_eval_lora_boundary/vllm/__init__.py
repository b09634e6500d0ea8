"""Everything that is known of vLLM at run time: the model, and the engine of a sweep.

Knows: vLLM, exports, the harness room.
Must not know: sweeps, traces.
"""
