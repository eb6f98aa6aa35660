"""The stock JavaScript SDK, tried as a new user would: every method of its client against a running node."""

from __future__ import annotations

from palestra.testing import Platform
from tests.sdk_js.node_js import HERE, SDK, node_js


async def test_every_method_of_the_stock_client_answers_as_the_reference_says(platform: Platform) -> None:
    assert SDK.is_file(), "the SDK's file is missing: `./dev test` fetches it"
    told = await node_js(str(HERE / "walk.mjs"), str(SDK), "127.0.0.1", str(platform.node.port))
    assert sorted(told["called"]) == sorted(told["methods"])
