"""The stock JavaScript SDK over the socket, in JSON and in Protobuf: in Node.js and on pages without an origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palestra.testing import Platform
from tests.sdk_js.walks import PLACES, spot, walked

WALK = "socket_walk.mjs"
FORMATS = ("json", "protobuf")
RUNS = 3


def options(platform: Platform, form: str, run: str) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": str(platform.node.port), "format": form, "run": run}


async def test_every_method_of_the_stock_socket_works_in_both_formats(platform: Platform) -> None:
    for form in FORMATS:
        told = await walked(WALK, options(platform, form, f"{form}1"))
        assert told["called"] == told["methods"]


@pytest.mark.browser
@pytest.mark.parametrize("place", PLACES)
async def test_it_works_on_a_page_without_an_origin_again_and_again(
    platform: Platform, place: str, tmp_path: Path
) -> None:
    async with spot(place, platform, tmp_path) as (page, complaints):
        for run in range(RUNS):
            for form in FORMATS:
                told = await page.walked(WALK, options(platform, form, f"{form}{run}"))
                assert told["called"] == told["methods"]
    assert complaints == []
