"""vLLM as the engine that verifies an export."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import torch

from ..errors import OutputError
from ..exports.engine_check import Served
from .launch import require_vllm, vllm_version

ENGINES = ("vllm",)
_PROGRAM = f"{__package__}.prompt_scores"
_PROCESS = re.compile(r"^(?:\[rank\d+\]: |\(\w+ pid=\d+\) )+")  # before a line of vLLM's messages
_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*$")


class VllmEngine:
    """Starts vLLM in a process of its own, with a cut adapter or a merged checkpoint."""

    name = "vLLM"

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        """Prepare; vLLM is not started yet.

        Args:
            arguments: Further arguments of vLLM's ``LLM``, such as ``gpu_memory_utilization``.
        """
        self._given = dict(arguments or {})

    def check(self) -> None:
        """Raise a MissingPackageError unless vLLM is installed."""
        require_vllm("--verify vllm", "leave it out")

    def version(self) -> str:
        """Return the distribution that provides vLLM, and its version."""
        return vllm_version()

    def log_probabilities(self, served: Served, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Return the log-probability of every prompt token but the first.

        As :meth:`.Engine.log_probabilities`: tensors ``(batch, seq - 1)``.

        Raises:
            OutputError: vLLM cannot load or run it.
        """
        prompts = tokens.tolist()
        arguments = self._arguments(served, tokens.shape[1])
        adapters: list[dict[str, Any] | None] = [None]
        if served.adapter is not None:
            adapter = {"lora_name": "cut", "lora_int_id": 1, "lora_path": served.adapter}
            if arguments.get("enable_mixed_moe_lora_format"):
                adapter["is_3d_lora_weight"] = True  # as PEFT saves the LoRA of fused experts
            adapters.append(adapter)
        request = {"arguments": arguments, "adapters": adapters, "prompts": prompts}
        return [torch.tensor(scores, dtype=torch.float64) for scores in _run(request)]

    def _arguments(self, served: Served, length: int) -> dict[str, Any]:
        """Return the arguments of vLLM's ``LLM``."""
        arguments: dict[str, Any] = {
            "model": served.model,
            "dtype": served.dtype,
            **served.loading,
            # prompts are token ids, and few and short
            "skip_tokenizer_init": True,
            "max_model_len": length,
            "enforce_eager": True,
            "disable_log_stats": True,
        }
        if served.adapter is not None:
            # one slot stays empty (docs/upstream.md)
            arguments |= {"enable_lora": True, "max_loras": 2, "max_lora_rank": served.rank}
        return arguments | self._given


def _run(request: dict[str, Any]) -> list[list[list[float]]]:
    """Run vLLM in a new process, and return its answer.

    Raises:
        OutputError: It fails. Its messages are kept in a file, which is named.
    """
    # In one process, vLLM's own errors are the last in its messages.
    environment = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} | dict(os.environ)
    with TemporaryDirectory(prefix="lora-boundary-") as folder:
        asked, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        with NamedTemporaryFile(
            "wb", prefix="lora-boundary-vllm-", suffix=".log", delete=False
        ) as log:
            command = [sys.executable, "-m", _PROGRAM, str(asked), str(answer)]
            done = subprocess.run(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        messages = Path(log.name)
        if done.returncode or not answer.is_file():
            raise OutputError(
                f"nothing was written: vLLM stopped with status {done.returncode}: "
                f"{_last_error(messages.read_text(encoding='utf-8', errors='replace'))}. All its "
                f"messages are in {messages}. Give arguments of vLLM with --vllm-args, or leave "
                "out --verify."
            )
        messages.unlink()
        found: list[list[list[float]]] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def _last_error(messages: str) -> str:
    """Return the last error in the messages of a program, in one line."""
    lines = [_PROCESS.sub("", line).rstrip() for line in messages.splitlines() if line.strip()]
    places = [place for place, line in enumerate(lines) if _ERROR.match(line)]
    if not places:
        return lines[-1].strip() if lines else "no message"
    # pydantic gives the reason in the next line
    error, *rest = lines[places[-1] : places[-1] + 3]
    details = [line.strip() for line in rest if line.startswith("  ")]
    return " ".join([error, *details]).rstrip(".")
