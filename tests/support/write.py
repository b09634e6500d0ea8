"""Write ``docs/support.md``: ``python tests/support/write.py`` computes all rows.

With titles of rows (``python tests/support/write.py Llama "GPT-2"``), it computes these, and keeps
the others as they are in the page. It also keeps rows whose backend is not installed.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import transformers  # noqa: E402
from support_page import PAGE, ROWS, line, lines, page  # noqa: E402
from support_quantized import Quantized  # noqa: E402


def main(titles: list[str]) -> None:
    transformers.logging.disable_progress_bar()
    if unknown := sorted(set(titles) - {each.title for each in ROWS}):
        sys.exit(f"no row is called {', '.join(unknown)}")
    rows = lines()
    for each in ROWS:
        if titles and each.title not in titles:
            continue
        if isinstance(each, Quantized) and not each.backend.installed:
            print(f"{each.title}: stays, since {each.backend.package} is not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[each.title] = line(each.title, each.about, each.cells(Path(folder)))
        print(rows[each.title], flush=True)
        PAGE.write_text(page(rows), encoding="utf-8")


main(sys.argv[1:])
