"""Which nodes there are: heartbeats over the bus, and a verdict on those that fall silent, which binds all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from palestra.cluster.bus import Bus
from palestra.core.clock import Clock
from palestra.core.config import ClusterSettings
from palestra.core.errors import PalestraError, SetupError
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.processes import Process, this_process
from palestra.core.tasks import Tasks

MUTE_BEATS = 3
"""After so many heartbeats that did not come back to this node, the broker is not believed to carry anything."""
VERDICT_SECONDS = 1.0
"""How often a node that does not know of its end is told so."""
LEFT = "left"
CATCH_UP_SECONDS = 1.0
REJOIN_SECONDS = 0.5
"""How long a node waits that cannot get a new epoch."""

log = get_logger(__name__)


class NodeInfo(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself with each heartbeat. `state` is for features to compare their own views by."""

    name: str
    epoch: int
    process: Process
    serves: bool
    draining: bool = False
    state: dict[str, int] = {}


class _Verdict(msgspec.Struct, array_like=True):
    name: str
    epoch: int


class _Known:
    __slots__ = ("heard_at", "info")

    def __init__(self, info: NodeInfo, heard_at: float) -> None:
        self.info = info
        self.heard_at = heard_at


OnNode = Callable[[NodeInfo], None]


class Membership:
    """The nodes that live, as this one sees them.

    Only intervals of this node's own monotonic clock are compared, so clocks may differ. A node that is silent for
    `dead_seconds`, or whose process is seen to be gone, is declared dead with its epoch; whoever hears that believes it
    and nothing that it still says in that epoch. It hears so too when it is back: it gives up all it had, takes a new
    epoch and joins as a new node. While the broker is away, or does not give back what this node says itself (it is
    `mute`), nobody is judged.
    """

    def __init__(self, bus: Bus, settings: ClusterSettings, clock: Clock, tasks: Tasks) -> None:
        self._bus = bus
        self._settings = settings
        self._now = clock.monotonic
        self._tasks = tasks
        self._known: dict[str, _Known] = {}
        self._told_at: dict[str, float] = {}
        self._last_echo: asyncio.Task[None] | None = None
        self._next_echo: asyncio.Task[None] | None = None
        self._beaten_at = self._echoed_at = 0.0
        self.mute = False
        self._rejoining = self._left = False
        self._process = this_process()
        self._on_join: list[OnNode] = []
        self._on_leave: list[OnNode] = []
        self._on_beat: list[OnNode] = []
        self._on_fenced: list[Callable[[], None]] = []
        self._on_mute: list[Callable[[], None]] = []
        self._new_epoch: Callable[[], Awaitable[int]] | None = None
        self.serves = True
        self.draining = False
        self.state: list[Callable[[], dict[str, int]]] = []
        """What features add to the heartbeats of this node."""
        bus.on("node.beat", self._beat_of)
        bus.on("node.dead", self._verdict_of)
        bus.on("node.leaves", self._goodbye_of)
        bus.answer("node.echo", self._answer)
        bus.on_change(self._bus_changed)
        bus.on_stale(self._stale)
        bus.on_echo(self._echo)

    # -- for features

    def on_join(self, callback: OnNode) -> None:
        """Call back for every node that is heard of for the first time, in its epoch."""
        self._on_join.append(callback)

    def on_leave(self, callback: OnNode) -> None:
        """Call back for every node that has left or was declared dead, once."""
        self._on_leave.append(callback)

    def on_beat(self, callback: OnNode) -> None:
        """Call back for every heartbeat of another node: all that it said to everybody before has arrived."""
        self._on_beat.append(callback)

    def on_fenced(self, callback: Callable[[], None]) -> None:
        """Call back when the others have given this node up: whatever it has that lives is to be dropped."""
        self._on_fenced.append(callback)

    def on_mute(self, callback: Callable[[], None]) -> None:
        """Call back when the broker takes what it is given and carries nothing."""
        self._on_mute.append(callback)

    def __iter__(self) -> Iterator[NodeInfo]:
        """The other nodes."""
        return iter([known.info for known in self._known.values()])

    def __contains__(self, node: object) -> bool:
        return node == self._bus.node or node in self._known

    def get(self, node: str) -> NodeInfo | None:
        """Another node, None if it is not there."""
        known = self._known.get(node)
        return None if known is None else known.info

    async def catch_up(self) -> None:
        """Wait until all that the others have said until now has arrived, or a second or two.

        For what a client says it has just seen on another node, and this one does not know. However many wait, each
        node is asked one question at a time: whoever comes while it is out shares the next one.
        """
        if self._next_echo is None:
            self._next_echo = self._tasks.spawn(self._ask_echo(self._last_echo), "catching up with other nodes")
        await asyncio.wait([self._next_echo])

    async def _ask_echo(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._last_echo, self._next_echo = self._next_echo, None
        asked = [self._bus.ask(name, "node.echo", b"", CATCH_UP_SECONDS) for name in self._known]
        await asyncio.gather(*asked, return_exceptions=True)

    async def _answer(self, sender: str, payload: bytes) -> bytes:
        # Messages of a pair arrive in order, so whatever was said before comes before this.
        return payload

    def me(self) -> NodeInfo:
        """This node."""
        state: dict[str, int] = {}
        for add in self.state:
            state.update(add())
        return NodeInfo(self._bus.node, self._bus.epoch, self._process, self.serves, self.draining, state)

    # -- life

    def start(self, new_epoch: Callable[[], Awaitable[int]]) -> None:
        """Begin to beat. `new_epoch` gives an epoch higher than all before; it is asked again when it fails."""
        self._new_epoch = new_epoch
        self._beaten_at = self._echoed_at = self._now()
        self._tasks.spawn(self._keep_beating(), "heartbeats")

    def leave(self) -> None:
        """Say goodbye: others need not wait to see."""
        self._left = True
        self._bus.broadcast("node.leaves", msgspec.msgpack.encode(self._bus.epoch))

    def say(self) -> None:
        """Beat now: something that others should know has changed."""
        self._bus.broadcast("node.beat", msgspec.msgpack.encode(self.me()))

    async def _keep_beating(self) -> None:
        while not self._left:
            if self._bus.up and not self._rejoining:
                self.say()
                self._judge()
            await asyncio.sleep(self._settings.beat_seconds)

    def _judge(self) -> None:
        now = self._now()
        slept = now - self._beaten_at
        self._beaten_at = now
        if slept > self._settings.dead_seconds / 2:
            # We were the silent one: what the others said meanwhile is still to be read.
            self._spare(now)
        if now - self._echoed_at > MUTE_BEATS * self._settings.beat_seconds:
            if not self.mute:
                self.mute = True
                log.warning(
                    "the broker takes what this node says and carries nothing: nobody is judged", node=self._bus.node
                )
                self._call(self._on_mute)
            return
        for known in list(self._known.values()):
            if known.info.process.is_gone() or now - known.heard_at > self._settings.dead_seconds:
                self._bus.broadcast("node.dead", msgspec.msgpack.encode(_Verdict(known.info.name, known.info.epoch)))
                self._bury(known.info, "declared dead")

    def _echo(self) -> None:
        self._echoed_at = self._now()
        if self.mute:
            self.mute = False
            self._spare(self._echoed_at + self._settings.dead_seconds)

    def _spare(self, now: float) -> None:
        for known in self._known.values():
            known.heard_at = now

    def _bus_changed(self, up: bool) -> None:
        if up:
            self._echoed_at = self._now()
            # Others may need longer than we did to find the broker again.
            self._spare(self._now() + self._settings.dead_seconds)

    # -- what others say

    def _beat_of(self, sender: str, payload: bytes) -> None:
        info = msgspec.msgpack.decode(payload, type=NodeInfo)
        known = self._known.get(sender)
        if known is not None and known.info.epoch != info.epoch:
            self._bury(known.info, "was started anew")
            known = None
        if known is None:
            self._known[sender] = _Known(info, self._now())
            log.info("node joined", node=self._bus.node, other=sender, epoch=info.epoch)
            # It wants to know us as soon.
            self.say()
            self._call(self._on_join, info)
        else:
            known.info = info
            known.heard_at = max(self._now(), known.heard_at)
        self._call(self._on_beat, info)

    def _goodbye_of(self, sender: str, payload: bytes) -> None:
        known = self._known.get(sender)
        if known is not None and known.info.epoch == msgspec.msgpack.decode(payload, type=int):
            self._bury(known.info, LEFT)

    def _verdict_of(self, sender: str, payload: bytes) -> None:
        verdict = msgspec.msgpack.decode(payload, type=_Verdict)
        if verdict.name == self._bus.node:
            if verdict.epoch == self._bus.epoch and not self._rejoining and self._new_epoch is not None:
                self._rejoining = True
                log.warning("the others gave this node up, it starts anew", node=self._bus.node, said=sender)
                self._tasks.spawn(self._rejoin(self._new_epoch), "joining anew")
            return
        self._bus.fence(verdict.name, verdict.epoch)
        known = self._known.get(verdict.name)
        if known is not None and known.info.epoch <= verdict.epoch:
            self._bury(known.info, f"was declared dead by {sender}")

    def _stale(self, node: str, epoch: int) -> None:
        """A node speaks that was declared dead: it does not know yet."""
        now = self._now()
        if now - self._told_at.get(node, -VERDICT_SECONDS) >= VERDICT_SECONDS:
            self._told_at[node] = now
            self._bus.send(node, "node.dead", msgspec.msgpack.encode(_Verdict(node, epoch)))

    def _bury(self, info: NodeInfo, why: str) -> None:
        del self._known[info.name]
        self._bus.fence(info.name, info.epoch)
        self._bus.forget(info.name)
        # A goodbye is what every deployment brings; all else somebody should look at.
        say = log.info if why == LEFT else log.warning
        say(f"node {why}", node=self._bus.node, other=info.name, epoch=info.epoch)
        self._call(self._on_leave, info)

    async def _rejoin(self, new_epoch: Callable[[], Awaitable[int]]) -> None:
        """Drop what lives here, then come back as a new node. Nobody listens to what is said in between."""
        self._call(self._on_fenced)
        while True:
            try:
                epoch = await new_epoch()
                break
            except (PalestraError, SetupError) as error:
                # If its name is another's by now, `NodeService` ends the node.
                log.warning("no new epoch yet", node=self._bus.node, reason=str(error))
                await asyncio.sleep(REJOIN_SECONDS)
        self._bus.begin(epoch)
        self._rejoining = False
        self._beaten_at = self._now()
        self._spare(self._beaten_at)
        self.say()

    def _call(self, callbacks: list[Any], *arguments: Any) -> None:
        for callback in callbacks:
            try:
                callback(*arguments)
            except Exception as error:
                log.error("a change of nodes was not dealt with", exc_info=error)

    # -- metrics

    def measure(self, metrics: Metrics) -> None:
        """Show how many nodes there are, and in which epoch this one is."""
        metrics.gauge("palestra_nodes", "Nodes that live, this one included", (), lambda: [((), len(self._known) + 1)])
        metrics.gauge("palestra_node_epoch", "How often nodes have joined", (), lambda: [((), self._bus.epoch)])
