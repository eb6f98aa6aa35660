"""Fixtures of the tests that drive a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    executable = os.environ.get("PALESTRA_TEST_CHROMIUM", chromium)
    assert executable, "these tests need Chromium on PATH (or its path in PALESTRA_TEST_CHROMIUM)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the pages wrote to their consoles as errors or threw."""
    return []
