"""Nodes of the test's process that are cut off from the others, or killed."""

from __future__ import annotations

from collections.abc import Callable

from palestra.app.build import Parts
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.testing import Platform


def parts_of(platform: Platform) -> Parts:
    """What a node is made of."""
    assert platform.node.parts is not None
    return platform.node.parts


def cut(platform: Platform, *, noticed: bool = True) -> Callable[[], None]:
    """Let no message come to a node or from it; whether its bus notices. What is returned mends it."""
    transport = platform.node._transport
    assert isinstance(transport, LocalTransport)
    name, broker = transport._node, transport._broker
    deliver, changed = broker.nodes.pop(name), parts_of(platform).cluster.bus._changed
    transport._broker = LocalBroker()
    if noticed:
        changed(False)

    def mend() -> None:
        transport._broker = broker
        broker.nodes[name] = deliver
        changed(True)

    return mend


async def kill(platform: Platform) -> None:
    """A node is no more, as its process would be: it says nothing, and nothing of it goes on."""
    cut(platform, noticed=False)
    parts = parts_of(platform)
    await parts.cluster.tasks.stop()
    await parts.tasks.stop()
