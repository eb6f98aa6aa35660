"""Handing parties over from a node that stops to one that stays, under the same id and unnoticed by their members."""

from __future__ import annotations

import asyncio
import contextlib

from palestra.cluster.bus import Unreachable
from palestra.cluster.cluster import Cluster
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.features.matchmaker.contract import PartyTickets
from palestra.features.parties.homes import Homes
from palestra.features.parties.rules import Party
from palestra.features.parties.service import PartyService
from palestra.features.parties.snapshot import PartySnapshot, snapshot_of
from palestra.features.streams.contract import ConnectedSockets, Copies, Stream

AT_ONCE_MAX = 32
NODES_TRIED_MAX = 3
ASKED_MAX = 2
ANSWER_SECONDS = 3.0
"""Longer than the new node waits for what others have said."""
LEAST_SECONDS = 0.1
"""What a question gets that is asked when there is no time left."""

log = get_logger(__name__)


class PartyHandOver:
    """Both ends of a hand-over.

    The old node sets the party aside: what is asked of it waits. When all nodes have heard what it has told them, and
    it has heard them, it calls the new one, which has the party once it has answered. Before that the new node hears
    all others too, and settles what members have done meanwhile by the presences it knows. A node that does not say
    whether it has the party is told to drop it, and the party ends: there must not be two.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: PartyService,
        homes: Homes,
        tickets: PartyTickets,
        sockets: ConnectedSockets,
        copies: Copies,
    ) -> None:
        self._bus = cluster.bus
        self._calls = cluster.calls
        self._members = cluster.members
        self._service = service
        self._homes = homes
        self._tickets = tickets
        self._sockets = sockets
        self._copies = copies
        self._leaving: dict[Stream, asyncio.Event] = {}
        self._given = self._turn = 0
        self._end_at = 0.0
        """When the last hand-over has to be over, by the loop's clock."""
        self._calls.serve("party.take", PartySnapshot, self._take)
        self._calls.serve("party.drop", Stream, self._drop)

    async def settled(self, stream: Stream) -> None:
        """Wait until a party that is being handed over is with its new node, stays or has ended."""
        if (event := self._leaving.get(stream)) is not None:
            await event.wait()

    # -- the old node

    async def hand_over(self, seconds: float) -> None:
        """Hand over all parties; none is begun with after `seconds`, and all is over some three seconds later."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        self._end_at = until + ANSWER_SECONDS
        parties = self._service.here()
        waiting = iter(parties)

        async def some() -> None:
            for party in waiting:
                if clock() > until or not self._candidates():
                    return
                try:
                    await self._hand_over(party.stream)
                except Exception as error:
                    # The others have nothing to do with it, nor has the rest of the node's stop.
                    log.error("a party was not handed over", party_id=party.id, exc_info=error)

        await asyncio.gather(*[some() for _ in range(AT_ONCE_MAX)])
        if parties:
            log.info("parties handed over", given=self._given, left=len(self._service.here()))

    def _candidates(self) -> list[str]:
        """Nodes that take parties, by turns; none while nobody can hear us."""
        reached = self._bus.up and not self._members.mute
        nodes = sorted(info.name for info in self._members if info.serves and not info.draining and reached)
        first = self._turn % max(len(nodes), 1)
        return [*nodes[first:], *nodes[:first]][:NODES_TRIED_MAX]

    async def _hand_over(self, stream: Stream) -> None:
        party = self._service.set_aside(stream)
        if party is None:
            return
        event = self._leaving[stream] = asyncio.Event()
        packed = b""
        try:
            # At once: nobody here sees from now on that a member leaves, which ends them.
            packed = self._tickets.pack_party(party.id)
            await self._members.catch_up()
            await self._give(party, snapshot_of(party, packed, self._bus.node, self._homes.next(stream)))
        finally:
            if self._service.put_back(stream):
                self._tickets.unpack_party(packed)
            del self._leaving[stream]
            event.set()

    async def _give(self, party: Party, snapshot: PartySnapshot) -> None:
        """Find a node that takes it."""
        nodes = self._candidates()
        self._turn += 1
        for node in nodes:
            try:
                goes_on = await self._taken(node, snapshot)
            except PalestraError as error:
                log.warning("party is not taken", party_id=party.id, other=node, reason=error.message)
                continue
            self._service.let_go(party.stream)
            if goes_on:
                self._given += 1
                self._homes.given(party.stream, node, snapshot.moves)
                self._tickets.party_went(party.id)
            return

    async def _taken(self, node: str, snapshot: PartySnapshot) -> bool:
        """Whether the party goes on there; else it is over. Raises PalestraError if the node does not take it."""
        doubtful = False
        for _ in range(ASKED_MAX):
            try:
                return await self._calls.call(node, "party.take", snapshot, bool, self._seconds())
            except Unreachable:
                # What one has that is gone is gone.
                if node not in self._members:
                    raise
                doubtful = True
            except PalestraError:
                # After a question without an answer a refusal says nothing: it may have had the party and be stopping.
                if not doubtful:
                    raise
        log.warning("party ends: a node does not say whether it has it", party=snapshot.stream.subject, other=node)
        self._service.end(snapshot.stream)
        with contextlib.suppress(PalestraError):
            await self._calls.call(node, "party.drop", snapshot.stream, type(None), self._seconds())
        return False

    def _seconds(self) -> float:
        """How long to wait for an answer."""
        return min(ANSWER_SECONDS, max(self._end_at - asyncio.get_running_loop().time(), LEAST_SECONDS))

    # -- the new node

    async def _take(self, sender: str, snapshot: PartySnapshot) -> bool:
        epoch = self._bus.epoch
        await self._members.catch_up()
        if self._bus.epoch != epoch:
            raise Unavailable("it was given up by the others, and so was what it was asked then")
        if self._service.has(snapshot.stream):
            return True
        # Of whom this node does not know would be taken for gone.
        known = all(self._copies.whole(node) for node in snapshot.nodes)
        if self._members.draining or sender not in self._members or not known:
            raise Unavailable("it stops, or has just begun")
        goes_on = self._service.adopt(snapshot, self._sockets.sessions)
        if goes_on:
            self._homes.taken(snapshot.stream, snapshot.moves)
            self._tickets.unpack_party(snapshot.tickets)
        return goes_on

    async def _drop(self, sender: str, stream: Stream) -> None:
        self._service.forget(stream)
