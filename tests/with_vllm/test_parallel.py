"""Several vLLM processes, by data or by tensor parallelism, give the answers of one."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from answered import alike, samples

ARGUMENTS = "dtype=float32,enforce_eager=True,max_model_len=100"
LAST = (os.cpu_count() or 1) - 1
# Each way, with what it needs on a CPU. lm-eval reserves a GPU for each process that Ray starts for
# it, so Ray is told that there are two. With tensor parallelism, vLLM wants cores for each process.
SIDES: dict[str, tuple[str, dict[str, str]]] = {
    "one": ("", {}),
    "data": (
        ",data_parallel_size=2",
        {
            "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 2, "GPU": 2}),
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    ),
    "tensor": (
        ",tensor_parallel_size=2",
        {"VLLM_CPU_OMP_THREADS_BIND": f"0|{min(1, LAST)}", "VLLM_LOGGING_LEVEL": "WARNING"},
    ),
}


@pytest.mark.parametrize("side", ["data", "tensor"])
def test_several_processes_answer_as_one(
    side: str,
    run: Any,
    models: tuple[Path, Path],
    task_folder: Path,
    tmp_path: Path,
) -> None:
    if side == "data" and not find_spec("ray"):
        pytest.skip("lm-eval's data_parallel_size needs Ray, which is not installed")
    base, adapter = models
    for name in ("one", side):
        more, settings = SIDES[name]
        arguments = f"pretrained={base},peft={adapter},boundary=1,{ARGUMENTS}{more}"
        run(
            *("-m", "lm_eval", "--model", "lora_boundary_vllm", "--model_args", arguments),
            *("--tasks", "tiny_words,tiny_choices", "--include_path", str(task_folder)),
            *("--output_path", str(tmp_path / name), "--log_samples", "--batch_size", "auto"),
            **settings,
        )
    for task in ("tiny_words", "tiny_choices"):
        one, several = (samples(tmp_path / name, task) for name in ("one", side))
        assert len(one) == 9
        assert alike(several, one)
