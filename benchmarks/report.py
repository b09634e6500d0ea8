"""The cost of the report of a large sweep: time to write, size, time to load and to search.

    python benchmarks/report.py [DOCUMENTS] [BOUNDARIES]

Responses have 60 words, prompts 210, and responses change at every third boundary, as in a sweep of
a summarisation task. Needs `chromium` and `chromedriver` on PATH.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "report"))
from browser import Browser
from made_sweeps import made_task, write_sweep

from lm_eval_lora_boundary.report.write import write_report

# the page's own clock, from the request for the file to the end of the load event
LOADED = "const [n] = performance.getEntriesByType('navigation'); return n.loadEventEnd"
HEAP = "return performance.memory.usedJSHeapSize / 1e6"
# the time that a user waits: the work of an event, and the layout after it
TIMED = """
const started = performance.now();
{};
document.body.offsetHeight;
return performance.now() - started;
"""
CHANGED = """
const box = [...document.querySelectorAll('.panel select')][0];
box.selectedIndex = arguments[0] % 2;
box.dispatchEvent(new Event('change'))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=int, nargs="?", default=1000)
    parser.add_argument("boundaries", type=int, nargs="?", default=33)
    options = parser.parse_args()
    documents, boundaries = options.documents, options.boundaries
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name, layers = "lora_boundary_samsum", boundaries - 1
        task = made_task(
            folder,
            name,
            documents=documents,
            layers=layers,
            words=60,
            binary=False,
            metric="rouge1",
        )
        write_sweep(folder, {name: task})
        samples = sum(path.stat().st_size for path in folder.rglob("samples_*"))
        times = []
        for _ in range(3):
            started = time.perf_counter()
            page = write_report(folder)
            times.append(time.perf_counter() - started)
        print(
            f"{documents:,} documents × {boundaries} boundaries, {samples / 1e6:.1f} MB of samples"
        )
        print(f"write  median of 3: {statistics.median(times):.1f} s")
        print(f"size   {page.stat().st_size / 1e6:.1f} MB")
        measure(page)
    print(f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}")


def measure(page: Path) -> None:
    browser = Browser()
    loads = []
    for _ in range(5):
        browser.open(page)
        browser.until("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        loads.append(browser.run(LOADED))
    started = time.perf_counter()
    browser.documents()
    shown = time.perf_counter() - started
    changes = [browser.run(TIMED.format(CHANGED), i) for i in range(1, 9)]
    searches = []
    for text in ("museum", "window ticket", "no such words"):
        started = time.perf_counter()
        browser.search(text)
        searches.append(time.perf_counter() - started)
    print(f"load   median of 5: {statistics.median(loads):.0f} ms to the end of the load event")
    print(f"show   {1000 * shown:.0f} ms from scrolling to the first 25 documents")
    print(f"filter median of 8: {statistics.median(changes):.0f} ms")
    print(
        f"search median of 3: {1000 * statistics.median(searches):.0f} ms, with typing and waiting"
    )
    print(f"heap   {browser.run(HEAP):.0f} MB")
    print(f"chromium {browser.driver.capabilities['browserVersion']}, headless")
    browser.quit()


if __name__ == "__main__":
    main()
