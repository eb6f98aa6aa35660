"""The stock JavaScript SDK, tried as a new user would: every method of its client against a running node."""

from __future__ import annotations

from pathlib import Path

import pytest

from palestra.testing import Platform
from tests.sdk_js.walks import PLACES, spot, walked

WALK = "walk.mjs"


async def test_every_method_of_the_stock_client_answers_as_the_reference_says(platform: Platform) -> None:
    told = await walked(WALK, {"host": "127.0.0.1", "port": str(platform.node.port)})
    assert told["called"] == told["methods"]


@pytest.mark.browser
@pytest.mark.parametrize("place", PLACES)
async def test_it_does_on_a_page_without_an_origin(platform: Platform, place: str, tmp_path: Path) -> None:
    async with spot(place, platform, tmp_path) as (page, complaints):
        told = await page.walked(WALK, {"host": "127.0.0.1", "port": str(platform.node.port)})
    assert told["called"] == told["methods"]
    # Each refusal that the walk asks for is one for the browser's console.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
