"""Provider operations over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from palestra.core.errors import DeadlineExceeded, OutcomeUnknown
from palestra.features.providers import wire
from palestra.features.providers.contract import UnknownRetry
from palestra.features.providers.refusals import FINAL, Refusals
from palestra.features.providers.service import ProviderService
from palestra.features.providers.signatures import signed_as
from palestra.gateway.operation import Call

R = TypeVar("R")
T = TypeVar("T")


class ProviderRoutes:
    """Call within the provider's deadline. Requests are decoded and answers encoded as they stand in `wire`."""

    def __init__(self, providers: ProviderService, refusals: Refusals) -> None:
        self._providers = providers
        self._refusals = refusals

    async def authenticate(self, call: Call, request: wire.Authenticate) -> wire.Authenticated:
        """Who a token speaks for."""
        return await self._within(call, self._providers.authenticate(call.server, request))

    async def balance(self, call: Call, request: wire.BalanceOf) -> wire.BalanceNow:
        """What a player can spend."""
        return await self._within(call, self._providers.balance(call.server, request))

    async def debit(self, call: Call, request: wire.Debit) -> wire.Moved:
        """Take a stake."""
        return await self._move(call, self._providers.debit, request)

    async def credit(self, call: Call, request: wire.Credit) -> wire.Moved:
        """Pay a player."""
        return await self._move(call, self._providers.credit, request)

    async def rollback(self, call: Call, request: wire.Rollback) -> wire.Undone:
        """Undo a debit, or keep it from ever happening."""
        return await self._move(call, self._providers.rollback, request)

    async def list(self, call: Call, request: wire.List) -> wire.Transactions:
        """A page of transactions."""
        return await self._within(call, self._providers.page(call.server, request))

    async def _move(self, call: Call, work: Callable[[str, R], Awaitable[T]], request: R) -> T:
        """Move money, unless these very bytes were refused before: then they are refused again."""
        signature, signed_at = signed_as(call.headers or [])
        self._refusals.check(call.server, signature)
        try:
            return await self._within(call, work(call.server, request))
        except FINAL as refusal:
            self._refusals.remember(call.server, signature, signed_at, refusal)
            raise

    async def _within(self, call: Call, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._providers.deadline_seconds(call.server)):
                return await work
        except (TimeoutError, DeadlineExceeded, OutcomeUnknown):
            raise UnknownRetry from None
