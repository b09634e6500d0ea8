"""Run the tutorial, and write what it prints into the page.

    python docs/tutorial/write.py

It needs the bundled model (``make demo`` installs it) and takes a few minutes. In ``index.md``, a
block of ``sh`` before ``<!-- output -->`` is a command. Commands run one after the other, in one
folder. What they print replaces all up to ``<!-- end -->``. Other blocks of ``sh`` do not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("index.md")
COMMAND = re.compile(
    r"(?P<before>```sh\n(?P<command>(?:(?!```).)*?)```\n\n<!-- output -->\n).*?<!-- end -->",
    re.DOTALL,
)
# progress bars, log lines of libraries and of lm-eval, and what differs from run to run
HIDDEN = re.compile(r"it/s\]|s/it\]|\d+%\||^\d{4}-\d\d-\d\d|^Converting|WARNING|warn|^fatal:")
ENVIRONMENT = {
    "COLUMNS": "80",
    "HF_HUB_OFFLINE": "1",
    "LMEVAL_LOG_LEVEL": "ERROR",  # its warnings have several lines
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}


def run(command: str, folder: Path) -> str:
    """Return what a command prints, as a reader would see it at the end."""
    binaries = str(Path(sys.executable).parent)
    env = os.environ | ENVIRONMENT | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    shell = ["bash", "-euo", "pipefail", "-c", f"test ! -f .env || . ./.env\n{command}"]
    done = subprocess.run(
        shell, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"status {done.returncode} from\n{command}\n{done.stdout}")
    lines = [line.rpartition("\r")[2].rstrip() for line in done.stdout.splitlines()]
    text = "\n".join(line for line in lines if not HIDDEN.search(line))
    text = re.sub(r"[^\s'\"=]*/site-packages", ".venv/lib/site-packages", text)
    text = text.replace(str(folder), ".")
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def main() -> None:
    """Run all commands and write the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def output(match: re.Match[str]) -> str:
            print(match["command"], flush=True)
            printed = run(match["command"], folder)
            return f"{match['before']}```text\n{printed}\n```\n<!-- end -->"

        PAGE.write_text(COMMAND.sub(output, PAGE.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
