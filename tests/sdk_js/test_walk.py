"""The stock JavaScript SDK, tried as a new user would: every method of its client against a running node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from palestra.app.unoffered import PATHS
from palestra.testing import Platform
from tests.sdk_js.node_js import SDK, node_js

WALK = Path(__file__).parent / "walk.mjs"
UNKNOWN_TO_THE_SDK = {
    ("GET", "/v2/matchmaker/stats"),
    ("GET", "/v2/party"),
    ("POST", "/v2/iap/purchase/samsung"),
}


async def walked(platform: Platform) -> dict[str, Any]:
    assert SDK.is_file(), "the SDK's file is missing: `./dev test` fetches it"
    return await node_js(str(WALK), str(SDK), "127.0.0.1", str(platform.node.port), json.dumps(PATHS))


async def test_every_method_of_the_stock_client_answers_as_the_reference_says(platform: Platform) -> None:
    told = await walked(platform)
    assert sorted(told["called"]) == sorted(told["methods"])
    refused = {path.replace("/subscription/gold", "/subscription/{id}") for path in told["notOffered"]}
    assert refused == {f"{method} {path}" for method, path in set(PATHS) - UNKNOWN_TO_THE_SDK}
