"""A node with nothing but parties, and what its players do all the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palestra.core.clock import ManualClock
from palestra.core.config import PartySettings
from palestra.core.errors import PalestraError
from palestra.features.matchmaker.contract import TicketNotFound, TicketRequest
from palestra.features.parties import feature
from palestra.features.parties.messages import PartyMessages
from palestra.features.parties.service import PartyService
from palestra.features.streams.contract import Member
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.operation import Session
from tests.gateway.websocket.node import Client, Node

Json = dict[str, Any]


class Tickets:
    """A matchmaker that matches nobody: notes tickets, and says no when a test wants it to."""

    def __init__(self) -> None:
        self.waiting: dict[str, dict[str, tuple[list[str], TicketRequest]]] = {}
        self.refusal: PalestraError | None = None
        self._made = 0

    def add(self, caller: Session, members: Sequence[Member], party_id: str, request: TicketRequest) -> str:
        """Note a ticket."""
        if self.refusal is not None:
            raise self.refusal
        self._made += 1
        ticket = f"ticket-{self._made}"
        names = [one.presence.username for one in members]
        self.waiting.setdefault(party_id, {})[ticket] = (names, request)
        return ticket

    def remove_party(self, party_id: str, ticket: str | None = None) -> None:
        """Forget a party's tickets, or one of them."""
        tickets = self.waiting.get(party_id, {})
        if ticket is None:
            tickets.clear()
        elif tickets.pop(ticket, None) is None:
            raise TicketNotFound


class Hall(Node):
    """A node with parties, named `hall`."""

    def __init__(self, *, single: bool = False, per_session_max: int = 64) -> None:
        self.engine = PresenceEngine()
        self.tickets = Tickets()
        settings = PartySettings(per_session_max=per_session_max)
        self.parties = PartyService(self.engine, self.tickets, settings, "hall", ManualClock(), single=single)
        super().__init__(feature.messages(PartyMessages(self.parties)))
        self.gateway.on_close(lambda socket, reason: self.engine.leave_all(socket.id))

    async def party(self, *names: str, max_size: int = 8, **more: Any) -> tuple[str, list[Client], list[Json]]:
        """An open party with these in it, led by the first, who have heard all joins: id, clients, presences."""
        clients = [await self.client(name) for name in names]
        party = (await clients[0].ask(cid="1", party_create={"open": True, "max_size": max_size, **more}))["party"]
        presences = [party["self"]]
        assert list(await clients[0].hear()) == ["party"]
        assert list(await clients[0].hear()) == ["party_presence_event"]
        for number, client in enumerate(clients[1:], 1):
            presences.append(await enter(client, party["party_id"]))
            for earlier in clients[:number]:
                assert (await earlier.hear())["party_presence_event"]["joins"] == [presences[-1]]
        return party["party_id"], clients, presences


async def enter(client: Client, party_id: str) -> Json:
    """Come into an open party; the presence."""
    assert await client.ask(cid="1", party_join={"party_id": party_id}) == {"cid": "1"}
    own = (await client.hear())["party"]["self"]
    assert await client.hear() == joined(party_id, own)
    return own


def joined(party_id: str, *presences: Json) -> Json:
    """The event of these coming in."""
    return {"party_presence_event": {"party_id": party_id, "joins": list(presences)}}


def left(party_id: str, *presences: Json) -> Json:
    """The event of these going."""
    return {"party_presence_event": {"party_id": party_id, "leaves": list(presences)}}


async def refusal(client: Client, **message: Any) -> str:
    """The text of the error with which a message is answered; its code must be 3."""
    reply = await client.ask(cid="?", **message)
    assert reply == {"cid": "?", "error": {"code": 3, "message": reply["error"]["message"]}}
    return reply["error"]["message"]


async def silent(*clients: Client) -> bool:
    """Whether nothing was sent to these before the answer to a ping."""
    return all([await one.ask(cid="quiet?", ping={}) == {"cid": "quiet?", "pong": {}} for one in clients])
