"""Fixtures of the tests that drive a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.chromium import chromium


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
def complaints() -> list[str]:
    """What the pages wrote to their consoles as errors or threw."""
    return []
