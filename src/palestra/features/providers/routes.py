"""Provider operations over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from palestra.core.errors import DeadlineExceeded, OutcomeUnknown
from palestra.features.providers import wire
from palestra.features.providers.contract import UnknownRetry
from palestra.features.providers.service import ProviderService
from palestra.gateway.operation import Call

T = TypeVar("T")


class ProviderRoutes:
    """Call within the provider's deadline. Requests are decoded and answers encoded as they stand in `wire`."""

    def __init__(self, providers: ProviderService) -> None:
        self._providers = providers

    async def authenticate(self, call: Call, request: wire.Authenticate) -> wire.Authenticated:
        """Who a token speaks for."""
        return await self._within(call, self._providers.authenticate(call.server, request))

    async def balance(self, call: Call, request: wire.BalanceOf) -> wire.BalanceNow:
        """What a player can spend."""
        return await self._within(call, self._providers.balance(call.server, request))

    async def debit(self, call: Call, request: wire.Debit) -> wire.Moved:
        """Take a stake."""
        return await self._within(call, self._providers.debit(call.server, request))

    async def credit(self, call: Call, request: wire.Credit) -> wire.Moved:
        """Pay a player."""
        return await self._within(call, self._providers.credit(call.server, request))

    async def rollback(self, call: Call, request: wire.Rollback) -> wire.Undone:
        """Undo a debit, or keep it from ever happening."""
        return await self._within(call, self._providers.rollback(call.server, request))

    async def list(self, call: Call, request: wire.List) -> wire.Transactions:
        """A page of transactions."""
        return await self._within(call, self._providers.page(call.server, request))

    async def _within(self, call: Call, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._providers.deadline_seconds(call.server)):
                return await work
        except (TimeoutError, DeadlineExceeded, OutcomeUnknown):
            raise UnknownRetry from None
