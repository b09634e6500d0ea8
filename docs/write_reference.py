"""Write the pages of the reference that come from the code.

    python docs/write_reference.py           # after a change of commands, arguments or schemas
    python docs/write_reference.py --check   # status 1 if a page is not what this would write

``reference_pages/`` has a module for every page. Nothing heavy is imported, so this takes a second.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reference_pages import commands, files, model_arguments, python_names  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
PAGES = {
    "commands.md": commands,
    "model-arguments.md": model_arguments,
    "files.md": files,
    "python.md": python_names,
}
WRITTEN = "<!-- Written by docs/write_reference.py. Change the code instead. -->"


def main() -> None:
    """Write the pages, or check them."""
    stale = []
    for name, page in PAGES.items():
        path = REFERENCE / name
        text = f"# {page.TITLE}\n\n{WRITTEN}\n\n{page.text().rstrip()}\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run python docs/write_reference.py")


if __name__ == "__main__":
    main()
