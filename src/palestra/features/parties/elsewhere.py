"""Parties of other nodes: who has which, and how to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from palestra.cluster.cluster import Cluster
from palestra.core.errors import Unavailable
from palestra.features.parties.actions import Action
from palestra.features.parties.listing import Found, ListingRequest
from palestra.features.parties.service import PartyService
from palestra.features.streams.contract import Forwards
from palestra.gateway.operation import Session

LIST_SECONDS = 1.0
"""How long a listing waits for other nodes; the parties of those that do not answer are not in it."""


class OtherParties:
    """A party lives on the node that made it, which its id names. What others want of it is done there."""

    def __init__(self, cluster: Cluster, forwards: Forwards, service: PartyService, actions: dict[str, Action]) -> None:
        self._me = cluster.node
        self._members = cluster.members
        self._calls = cluster.calls
        self._forwards = forwards
        self._service = service
        service.find_elsewhere = self.find
        for name, action in actions.items():
            forwards.serve(name, action.request, _handler(action))
        cluster.calls.serve("parties.list", ListingRequest, self._find_here)
        cluster.members.on_leave(lambda info: service.node_gone(info.name))
        cluster.members.on_fenced(service.drop)

    def node_of(self, party_id: str) -> str:
        """The other node that a party lives on; "" if it is this one, or none that there is."""
        node = party_id.partition(".")[2]
        return node if node != self._me and node in self._members else ""

    async def ask(self, session: Session, node: str, name: str, action: Action, request: Any) -> Any:
        """Do there what a session of this node wants. Raises what it raises there, Unreachable."""
        return await self._forwards.call(session, node, name, request, action.answer)

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


def _handler(action: Action) -> Callable[[Session, Any], Awaitable[Any]]:
    async def handle(session: Session, request: Any) -> Any:
        return action.do(session, request)

    return handle
