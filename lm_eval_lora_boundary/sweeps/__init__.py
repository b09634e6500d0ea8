"""Score many cuts of an adapter: requests, answers, scores, decision, files, in that order.

Knows: cuts, forward, stats, harness, vllm, traces, and how to have a report written.
Must not know: train, compare, exports (the vllm room does), the command line.
"""
