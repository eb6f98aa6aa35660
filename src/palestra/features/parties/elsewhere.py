"""Parties of other nodes: who has which, and how to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.errors import Unavailable
from palestra.features.parties.actions import Action
from palestra.features.parties.contract import InvalidPartyId, PartyMoved
from palestra.features.parties.handover import PartyHandOver
from palestra.features.parties.homes import Homes
from palestra.features.parties.listing import Found, ListingRequest
from palestra.features.parties.rules import split_party_id
from palestra.features.parties.service import PartyService
from palestra.features.streams.contract import Forwards, Stream
from palestra.gateway.operation import Session

LIST_SECONDS = 1.0
"""How long a listing waits for other nodes; the parties of those that do not answer are not in it."""
MOVES_MAX = 5
"""How many nodes are asked about a party that moves on and on."""


class OtherParties:
    """A party lives on one node. What others want of it is done there, or waits while it moves."""

    def __init__(
        self,
        cluster: Cluster,
        forwards: Forwards,
        service: PartyService,
        actions: dict[str, Action],
        homes: Homes,
        mover: PartyHandOver,
    ) -> None:
        self._me = cluster.node
        self._members = cluster.members
        self._calls = cluster.calls
        self._forwards = forwards
        self._service = service
        self._homes = homes
        self.mover = mover
        service.find_elsewhere = self.find
        service.node_of, service.on_end, service.send_to = homes.of, homes.ended, forwards.send
        for name, action in actions.items():
            forwards.serve(name, action.request, self._handler(action))
        cluster.calls.serve("parties.list", ListingRequest, self._find_here)
        cluster.members.on_leave(self._node_gone)
        cluster.members.on_fenced(self._fenced)

    def node_of(self, party_id: str) -> str:
        """The other node that a party lives on; "" if it is this one, or none that there is."""
        return self._elsewhere(split_party_id(party_id))

    def _elsewhere(self, stream: Stream) -> str:
        node = self._homes.of(stream)
        return node if node != self._me and node in self._members else ""

    async def do(self, session: Session, name: str, action: Action, request: Any) -> Any:
        """Do what a session of this node wants, where the party is. Raises what it raises there, Unreachable."""
        try:
            stream = split_party_id(request.party_id)
        except InvalidPartyId:
            # Something else may be wrong as well, which is said first.
            return action.do(session, request)
        node = await self._look(stream)
        for _ in range(MOVES_MAX):
            if not node:
                break
            try:
                return await self._forwards.call(session, node, name, request, action.answer)
            except PartyMoved as moved:
                node = moved.message if moved.message != self._me else await self._look(stream)
        return action.do(session, request)

    async def _look(self, stream: Stream) -> str:
        """The other node that has a party, "" for this one: once it moves no more, and all others were heard."""
        await self.mover.settled(stream)
        node = "" if self._service.has(stream) else self._elsewhere(stream)
        if node or self._service.has(stream):
            return node
        await self._members.catch_up()
        return self._elsewhere(stream)

    async def find(self, asked: ListingRequest) -> list[Found]:
        """The first parties of a listing on each of the other nodes."""
        calls = [
            self._calls.call(info.name, "parties.list", asked, list[Found], LIST_SECONDS)
            for info in self._members
            if info.serves
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        return [found for answer in answers if not isinstance(answer, BaseException) for found in answer]

    async def _find_here(self, sender: str, asked: ListingRequest) -> list[Found]:
        return await self._service.find(asked.read())

    def _handler(self, action: Action) -> Callable[[Session, Any], Awaitable[Any]]:
        async def handle(session: Session, request: Any) -> Any:
            stream = split_party_id(request.party_id)
            await self.mover.settled(stream)
            if not self._service.has(stream) and (node := self._elsewhere(stream)):
                raise PartyMoved(node)
            return action.do(session, request)

        return handle

    # -- nodes that go

    def _node_gone(self, info: NodeInfo) -> None:
        self._service.node_gone(info.name)
        self._homes.forget(info.name)

    def _fenced(self) -> None:
        self._service.drop()
        self._homes.forget(self._me)
