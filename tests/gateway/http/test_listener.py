"""A listener with an application of the test's own: what happens around the gateway, not in it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from palestra.core.config import SocketSettings
from palestra.gateway.http.exchange import Exchange
from palestra.gateway.server import Listener
from tests.gateway.http.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def test_an_application_that_breaks_is_logged_and_its_client_is_not_left_waiting() -> None:
    async def broken(exchange: Exchange) -> None:
        raise RuntimeError("nobody foresaw this")

    listener = Listener(broken, SocketSettings())
    port = listener.bind("127.0.0.1", 0)
    await listener.start()
    try:
        with capture_logs() as logs:
            wire = await Wire.open(port)
            wire.ask("GET", "/")
            assert await wire.ended() == b""
        (event,) = logs
        assert event["event"] == "request failed outside its operation"
        assert "nobody foresaw this" in repr(event["exc_info"])
    finally:
        await listener.stop()
