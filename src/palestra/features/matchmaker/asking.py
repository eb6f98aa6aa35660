"""Questions about tickets, answered on the node that makes matches, or on the one whose ticket it is."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from palestra.cluster.cluster import Cluster
from palestra.core.errors import Unavailable
from palestra.features.matchmaker.contract import Stats, TicketInfo, WhyNot
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.sharing import TicketSharing

T = TypeVar("T")


class NobodyMakesMatches(Unavailable):
    """The node that made matches is gone, and no other has begun yet."""

    def __init__(self) -> None:
        super().__init__("No node makes matches at the moment, try again.")


class TicketQuestions:
    """Implements `Asking`."""

    def __init__(self, cluster: Cluster, service: MatchmakerService, sharing: TicketSharing) -> None:
        self._calls, self._members = cluster.calls, cluster.members
        self._me = cluster.node
        self._service = service
        self._sharing = sharing
        service.asking = self
        for name, request, answer in (
            ("tickets.stats", None, self._stats),
            ("tickets.list", int, self._tickets),
            ("tickets.explain", tuple[str, int], self._explain),
            ("tickets.remove", str, self._remove),
            ("tickets.end_backfill", str, self._end_backfill),
        ):
            cluster.calls.serve(name, request, answer)

    # -- asked by others

    def _require_maker(self) -> None:
        if self._sharing.maker != self._me:
            raise NobodyMakesMatches

    async def _stats(self, sender: str, _: None) -> Stats:
        self._require_maker()
        return self._service.stats_here()

    async def _tickets(self, sender: str, limit: int) -> list[TicketInfo]:
        self._require_maker()
        return self._service.tickets_here(limit)

    async def _explain(self, sender: str, asked: tuple[str, int]) -> WhyNot:
        self._require_maker()
        ticket_id, limit = asked
        return await self._service.explain_here(ticket_id, limit)

    async def _remove(self, sender: str, ticket_id: str) -> bool:
        return self._service.remove_own(ticket_id)

    async def _end_backfill(self, sender: str, backfill_id: str) -> int | None:
        return self._service.end_own_backfill(backfill_id)

    # -- asking others

    async def stats(self) -> Stats:
        """See Asking.stats."""
        return await self._ask_maker("tickets.stats", None, Stats)

    async def tickets(self, limit: int) -> list[TicketInfo]:
        """See Asking.tickets."""
        return await self._ask_maker("tickets.list", limit, list[TicketInfo])

    async def explain(self, ticket: str, limit: int) -> WhyNot:
        """See Asking.explain."""
        return await self._ask_maker("tickets.explain", (ticket, limit), WhyNot)

    async def _ask_maker(self, name: str, request: Any, answer: type[T]) -> T:
        if not self._sharing.maker:
            raise NobodyMakesMatches
        return await self._calls.call(self._sharing.maker, name, request, answer)

    async def remove(self, ticket: str) -> bool:
        """See Asking.remove."""
        return True in await self._ask_all("tickets.remove", ticket, bool)

    async def end_backfill(self, backfill: str) -> int:
        """See Asking.end_backfill."""
        answers = await self._ask_all("tickets.end_backfill", backfill, int | None)  # type: ignore[arg-type]
        return next((open for open in answers if open is not None), 0)

    async def _ask_all(self, name: str, request: Any, answer: type[T]) -> list[T]:
        """The answers of those other nodes that give one."""
        asked = [self._calls.call(info.name, name, request, answer) for info in self._members]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer for answer in answers if not isinstance(answer, BaseException)]
