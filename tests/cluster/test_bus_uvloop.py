"""The bus on the loop that nodes run on, whose transports differ from others where connections end."""

from __future__ import annotations

import uvloop

from palestra.cluster.bus import Bus
from palestra.cluster.buses.valkey import ValkeyTransport
from palestra.core.tasks import Tasks
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_command
from tests.cluster.test_bus import Inbox
from tests.waiting import until


def test_a_broker_that_hangs_up_again_and_again_is_found_in_the_end() -> None:
    async def scenario() -> None:
        port = free_port()
        async with running(valkey_command(port), port), FaultProxy(port) as fault:
            url, tasks = f"redis://127.0.0.1:{fault.port}", Tasks()
            a, b = (Bus(name, 1, ValkeyTransport(url), tasks) for name in "ab")
            at_b = Inbox(b)
            for bus in (a, b):
                await bus.start()
            for _ in range(4):
                tries = fault.refusals
                fault.cut(refuse=True)
                await until(lambda tries=tries: fault.refusals > tries + 3)
                fault.heal()
                await until(lambda: a.up and b.up)
            a.send("b", "news", b"back")
            assert await at_b.until(1) == [("a", b"back")]
            for bus in (a, b):
                await bus.stop()

    uvloop.run(scenario())
