"""The endpoints of fair draws: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.fair import wire
from palestra.features.fair.contract import Fair, HistoryPage, Rotation, SeedPair, Verification
from palestra.gateway.operation import Call, Empty


class FairRoutes:
    """Handlers of the fair operations. The contract's records are the answers as they stand."""

    def __init__(self, fair: Fair) -> None:
        self._fair = fair

    async def seeds(self, call: Call, request: Empty) -> SeedPair:
        """The caller's active pair."""
        return await self._fair.seeds(call.player.user_id)

    async def rotate(self, call: Call, request: wire.RotateRequest) -> Rotation:
        """The caller's next pair, and the server seed of the one before."""
        return await self._fair.rotate(call.player.user_id, request.client_seed)

    async def history(self, call: Call, request: wire.HistoryRequest) -> HistoryPage:
        """The caller's revealed seeds."""
        return await self._fair.history(call.player.user_id, request.limit, request.cursor)

    async def verify(self, call: Call, request: wire.VerifyRequest) -> Verification:
        """The values of a draw whose server seed is known; open to everybody."""
        return self._fair.verify(request.server_seed, request.client_seed, request.nonce, request.draws)
