"""Everything that touches lm-eval: models, tasks, prompts, evaluation, result files, processes.

Knows: lm-eval, accelerate, the cuts room, the requests and log-likelihoods of the forward room.
Must not know: statistics, reports, exports, vLLM, sweeps, traces.
"""
