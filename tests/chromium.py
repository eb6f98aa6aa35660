"""A headless Chromium for the tests that need one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

CLOSE_SECONDS_MAX = 30.0
"""The driver would wait for ever for a browser that hangs."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, closed at the end."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    executable = os.environ.get("PALESTRA_TEST_CHROMIUM", found)
    assert executable, "these tests need Chromium on PATH (or its path in PALESTRA_TEST_CHROMIUM)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await browser.close()
