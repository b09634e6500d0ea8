"""A headless Chromium, if it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from browser import Browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("no chromium and chromedriver on PATH (Debian: chromium, chromium-driver)")
    browser = Browser()
    yield browser
    browser.quit()
