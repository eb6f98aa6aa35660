"""Messages between nodes: to one or to all, and questions with a deadline; gathered for a moment, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from palestra.core.errors import Overloaded, Unavailable
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks

EVERYBODY = ""
"""The address of all other nodes."""
PACKET_BYTES_MAX = 262_144
"""Messages of one turn beyond this go in a further packet; a message of its own may be larger."""
MESSAGE_BYTES_MAX = 786_432
"""With what is put around it, it fits into what NATS carries as it comes: 1 MiB. What is longer goes in pieces."""
LONG_BYTES_MAX = 8_388_608
"""The longest message; a receiver keeps as much of each sender until the rest is there."""
QUESTIONS_MAX = 65_536
ANSWER_SECONDS = 5.0

_TELL, _ASK, _ANSWER, _REFUSE, _PIECE = range(5)
_IN_PIECES = 8
"""Added to what a message is: its payload was sent as pieces, and here is how many bytes they have together."""

Message = tuple[int, str, int, bytes]
"""What it is, its topic, the number of the question, and what it says."""
OnMessage = Callable[[str, bytes], None]
OnQuestion = Callable[[str, bytes], Awaitable[bytes]]
OnGap = Callable[[str], None]

log = get_logger(__name__)


class Packet(msgspec.Struct, array_like=True):
    """What one node sends in one piece. `number` counts the packets of this sender and epoch to this address."""

    sender: str
    epoch: int
    to: str
    number: int
    messages: list[Message]


class Transport(Protocol):
    """Carries packets through a broker, or past one. At most once, in order per pair, while it is up.

    `deliver` and `changed` are called on the loop. `changed(False)` says that packets may be getting lost.
    """

    gather_seconds: float
    """How soon after a packet the next one may follow; what is sent in between goes together."""

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Begin to receive what is for `node` and for everybody; comes back when that is so. Raises Unavailable."""
        ...

    def publish(self, to: str, packet: bytes) -> bool:
        """Send a packet; False when it cannot be, because the broker is away or slower than we are."""
        ...

    async def close(self) -> None:
        """Send what waits, then stop receiving."""
        ...


class Unreachable(Unavailable):
    """A node was asked and nothing came back: it is gone, hangs, or the broker is away. It may have heard us."""

    def __init__(self, node: str) -> None:
        super().__init__(f"Node {node} cannot be reached, try again.")


class Bus:
    """One node's end of the bus.

    Whoever hears of a gap must ask the sender for the whole state: something it sent has been lost. Gaps are noticed by
    the next packet that arrives, so whoever counts on them sends something now and then, as membership does.
    """

    def __init__(self, node: str, epoch: int, transport: Transport, tasks: Tasks) -> None:
        self.node = node
        self.epoch = epoch
        self.up = self._stopping = False
        self._transport = transport
        self._tasks = tasks
        self.loop: asyncio.AbstractEventLoop
        self._topics: dict[str, OnMessage] = {}
        self._questions: dict[str, OnQuestion] = {}
        self._on_gap: list[OnGap] = []
        self._on_change: list[Callable[[bool], None]] = []
        self._outbox: list[dict[str, list[Message]]] = []
        self._open: Callable[[], None] | None = None
        self._awake = False
        self._gather_seconds = transport.gather_seconds
        self._flushed_at = 0.0
        """Whether what is sent goes out at the end of this turn already."""
        self._numbers: dict[str, int] = {}
        self._heard: dict[tuple[str, bool], tuple[int, int]] = {}
        self._pieces: dict[tuple[str, bool], list[bytes]] = {}
        self._fenced: dict[str, int] = {}
        self._on_echo: list[Callable[[], None]] = []
        self._on_stale: list[Callable[[str, int], None]] = []
        self._asked = 0
        self._pending: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Packet).decode
        self.packets_sent = self.messages_sent = self.packets_received = self.messages_received = 0
        self.packets_lost = self.gaps = self.stale = 0

    # -- life

    async def start(self) -> None:
        """Begin to receive. Raises Unavailable when the broker cannot be reached."""
        self.loop = asyncio.get_running_loop()
        await self._transport.open(self.node, self._deliver, self._changed)

    async def stop(self) -> None:
        """Send what waits and stop; questions that have no answer yet get none."""
        self._flush()
        self._stopping = True
        await self._transport.close()
        for node, waiting in list(self._pending.values()):
            if not waiting.done():
                waiting.set_exception(Unreachable(node))

    def on(self, topic: str, handler: OnMessage) -> None:
        """Call `handler(sender, payload)` for every message of a topic, in the order in which its sender sent them."""
        self._topics[topic] = handler

    def answer(self, topic: str, handler: OnQuestion) -> None:
        """Answer questions of a topic by `await handler(sender, payload)`, each in a task of its own."""
        self._questions[topic] = handler

    def on_gap(self, handler: OnGap) -> None:
        """Call back with the name of a node whose messages were lost on the way, or that was started anew."""
        self._on_gap.append(handler)

    def on_change(self, handler: Callable[[bool], None]) -> None:
        """Call back when the broker is lost (False) and when it is back (True)."""
        self._on_change.append(handler)

    def on_echo(self, handler: Callable[[], None]) -> None:
        """Call back when something that this node said to everybody comes back: the broker carries what it is given."""
        self._on_echo.append(handler)

    def on_stale(self, handler: Callable[[str, int], None]) -> None:
        """Call back with name and epoch of a node that still speaks in an epoch that is over."""
        self._on_stale.append(handler)

    def begin(self, epoch: int) -> None:
        """Speak in a new epoch from now on."""
        self.epoch = epoch
        self._numbers.clear()

    def fence(self, node: str, epoch: int) -> None:
        """Believe nothing any more that a node says in this epoch or an earlier one."""
        self._fenced[node] = max(epoch, self._fenced.get(node, 0))

    def forget(self, node: str) -> None:
        """A node is gone: questions to it fail now, and one of its name that comes later is a new one."""
        for key in ((node, False), (node, True)):
            self._heard.pop(key, None)
            self._pieces.pop(key, None)
        self._numbers.pop(node, None)
        for number, (asked, waiting) in list(self._pending.items()):
            if asked == node and not waiting.done():
                del self._pending[number]
                waiting.set_exception(Unreachable(node))

    # -- sending

    def send(self, node: str, topic: str, payload: bytes) -> None:
        """Send to one node, at most once; to this one too, at the loop's next turn."""
        self._put(node, (_TELL, topic, 0, payload))

    def broadcast(self, topic: str, payload: bytes) -> None:
        """Send to all other nodes, at most once."""
        self._put(EVERYBODY, (_TELL, topic, 0, payload))

    async def ask(self, node: str, topic: str, payload: bytes, seconds: float = ANSWER_SECONDS) -> bytes:
        """Ask one node and wait for its answer.

        Raises Unreachable when none comes in time, Unavailable with the text of what the other node could not do,
        Overloaded when too many questions wait.
        """
        if len(self._pending) >= QUESTIONS_MAX:
            raise Overloaded("Too many questions wait for other nodes, try again.")
        if not self.up and node != self.node:
            raise Unreachable(node)
        self._asked += 1
        number = self._asked
        waiting: asyncio.Future[bytes] = self.loop.create_future()
        self._pending[number] = node, waiting
        timer = self.loop.call_later(seconds, self._late, number)
        try:
            self._put(node, (_ASK, topic, number, payload))
            return await waiting
        finally:
            timer.cancel()
            self._pending.pop(number, None)

    def _late(self, number: int) -> None:
        found = self._pending.pop(number, None)
        if found is not None and not found[1].done():
            found[1].set_exception(Unreachable(found[0]))

    def gather(self, finish: Callable[[], None]) -> None:
        """Keep the place of messages that grow until the next one, or the end of this turn: `finish` sends them."""
        self._close()
        self._wake()
        self._open = finish

    def _close(self) -> None:
        if self._open is not None:
            finish, self._open = self._open, None
            # Whoever writes next has nothing to do with it.
            self._call((finish,))

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            if self._gather_seconds and self.loop.time() - self._flushed_at < self._gather_seconds:
                self.loop.call_later(self._gather_seconds, self._flush)
            else:
                self.loop.call_soon(self._flush)

    def _put(self, to: str, message: Message) -> None:
        if len(message[3]) > LONG_BYTES_MAX:
            raise ValueError(f"a message of {len(message[3])} bytes is too long for the bus: {message[1]}")
        self._close()
        self._wake()
        outbox = self._outbox
        # What is for all and what is for one keep their order: a packet holds a run of either kind.
        if not outbox or (EVERYBODY in outbox[-1]) != (to == EVERYBODY):
            outbox.append({})
        messages = outbox[-1].setdefault(to, [])
        if len(message[3]) <= MESSAGE_BYTES_MAX:
            messages.append(message)
        else:
            messages += _in_pieces(message)

    def _flush(self) -> None:
        self._close()
        outbox, self._outbox, self._awake = self._outbox, [], False
        if outbox:
            self._flushed_at = self.loop.time()
        for run in outbox:
            for to, messages in run.items():
                self._publish(to, messages)

    def _publish(self, to: str, messages: list[Message]) -> None:
        if to == self.node:
            self._handle(self.node, False, messages)
            return
        for part in _parts(messages):
            number = self._numbers[to] = self._numbers.get(to, 0) + 1
            packet = self._encode(Packet(self.node, self.epoch, to, number, part))
            if self.up and self._transport.publish(to, packet):
                self.packets_sent += 1
                self.messages_sent += len(part)
            else:
                # The number is used up: the receivers will see that something is missing.
                self.packets_lost += 1

    # -- receiving

    def _changed(self, up: bool) -> None:
        if up == self.up:
            return
        self.up = up
        if up or self._stopping:
            log.info("bus is up" if up else "bus is closed", node=self.node)
        else:
            log.warning("bus is down, other nodes are out of reach: it is tried again all the time", node=self.node)
        self._call(self._on_change, up)

    def _call(self, handlers: Sequence[Callable[..., None]], *arguments: Any) -> None:
        """Whatever one of them does, the others hear of it and the bus goes on."""
        for handler in handlers:
            try:
                handler(*arguments)
            except Exception as error:
                log.error("news of the bus were not dealt with", exc_info=error)

    def _deliver(self, data: bytes) -> None:
        try:
            packet = self._decode(data)
        except msgspec.DecodeError as error:
            log.warning("a packet on the bus cannot be read", reason=str(error))
            return
        if packet.sender == self.node:
            if packet.epoch == self.epoch:
                self._call(self._on_echo)
            return
        key = packet.sender, packet.to == EVERYBODY
        known = self._heard.get(key)
        if packet.epoch <= self._fenced.get(packet.sender, -1) or (known is not None and packet.epoch < known[0]):
            self.stale += 1
            self._call(self._on_stale, packet.sender, packet.epoch)
            return
        self._heard[key] = packet.epoch, packet.number
        self.packets_received += 1
        if known is not None and (packet.epoch, packet.number) != (known[0], known[1] + 1):
            self.gaps += 1
            self._pieces.pop(key, None)
            self._call(self._on_gap, packet.sender)
        self._handle(packet.sender, packet.to == EVERYBODY, packet.messages)

    def _handle(self, sender: str, to_all: bool, messages: list[Message]) -> None:
        self.messages_received += len(messages)
        for kind, topic, number, payload in messages:
            if kind >= _PIECE:
                if (whole := self._put_together((sender, to_all), kind, payload)) is None:
                    continue
                kind, payload = kind - _IN_PIECES, whole
            if kind == _TELL:
                handler = self._topics.get(topic)
                if handler is not None:
                    try:
                        handler(sender, payload)
                    except Exception as error:
                        log.error("a message of another node failed", topic=topic, sender=sender, exc_info=error)
            elif kind == _ASK:
                self._tasks.spawn(self._respond(sender, topic, number, payload), f"answer to {topic}")
            else:
                found = self._pending.get(number)
                if found is not None and found[0] == sender and not found[1].done():
                    if kind == _ANSWER:
                        found[1].set_result(payload)
                    else:
                        found[1].set_exception(Unavailable(payload.decode(errors="replace")))

    def _put_together(self, key: tuple[str, bool], kind: int, payload: bytes) -> bytes | None:
        """The whole payload of a long message, with its last part; None if there is more to come, or some was lost."""
        if kind == _PIECE:
            pieces = self._pieces.setdefault(key, [])
            if len(pieces) * MESSAGE_BYTES_MAX < LONG_BYTES_MAX:
                pieces.append(payload)
            return None
        whole = b"".join(self._pieces.pop(key, ()))
        return whole if len(whole) == int.from_bytes(payload) else None

    async def _respond(self, sender: str, topic: str, number: int, payload: bytes) -> None:
        handler = self._questions.get(topic)
        try:
            if handler is None:
                raise Unavailable(f"Node {self.node} does not know of {topic}.")
            reply = _ANSWER, topic, number, await handler(sender, payload)
        except Unavailable as error:
            reply = _REFUSE, topic, number, error.message.encode(errors="replace")
        except Exception as error:
            log.error("a question of another node failed", topic=topic, sender=sender, exc_info=error)
            reply = _REFUSE, topic, number, f"Node {self.node} failed to answer.".encode()
        self._put(sender, reply)

    # -- metrics

    def measure(self, metrics: Metrics) -> None:
        """Show what goes over the bus and what does not."""
        counts: dict[str, Callable[[], int]] = {
            "packets_sent": lambda: self.packets_sent,
            "packets_received": lambda: self.packets_received,
            "messages_sent": lambda: self.messages_sent,
            "messages_received": lambda: self.messages_received,
            "packets_lost": lambda: self.packets_lost,
            "gaps": lambda: self.gaps,
            "stale_packets": lambda: self.stale,
        }
        metrics.gauge("palestra_bus_up", "Whether other nodes can be reached", (), lambda: [((), int(self.up))])
        metrics.counter(
            "palestra_bus",
            "What goes over the bus between nodes",
            ("what",),
            lambda: [((what,), read()) for what, read in counts.items()],
        )


def _in_pieces(message: Message) -> Iterable[Message]:
    """A message that is too long for a packet."""
    kind, topic, number, payload = message
    for start in range(0, len(payload), MESSAGE_BYTES_MAX):
        yield _PIECE, topic, 0, payload[start : start + MESSAGE_BYTES_MAX]
    yield kind + _IN_PIECES, topic, number, len(payload).to_bytes(8)


def _parts(messages: list[Message]) -> Iterable[list[Message]]:
    """The messages of a turn, cut where a packet is full."""
    part: list[Message] = []
    size = 0
    for message in messages:
        if part and size + len(message[3]) > PACKET_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message[3]) + len(message[1])
    if part:
        yield part
