"""What it costs to hand one change of status to a thousand followers, before anything is written to their sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from palestra.core.clock import SystemClock
from palestra.core.config import ResumeSettings, SocketSettings
from palestra.core.tasks import Tasks
from palestra.features.accounts.contract import Users
from palestra.features.status.service import StatusService
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.operation import Authenticator, Caller
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket

FOLLOWERS = 1_000
REPEATS = 20


class _Anybody:
    """Whoever is asked for exists."""

    async def get_many(self, ids: Iterable[str]) -> list[Any]:
        return [SimpleNamespace(id=user_id) for user_id in ids]


class _Player(Socket):
    """A socket without a connection: what is queued for it is forgotten."""

    __slots__ = ()

    def flush(self) -> None:
        self._out.clear()


def status() -> dict[str, float]:
    """µs for all followers together, the best of several repeats."""
    return {f"a status to {FOLLOWERS:,} followers, queued": asyncio.run(_status())}


async def _status() -> float:
    nobody = cast(Authenticator, None)
    gateway = SocketGateway(
        SocketSettings(), nobody, Dispatcher(1), [], tasks=Tasks(), clock=SystemClock(), resume=ResumeSettings()
    )
    gateway.start()
    statuses = StatusService(PresenceEngine(), cast(Users, _Anybody()), gateway)
    star, *followers = [_player(gateway, number) for number in range(FOLLOWERS + 1)]
    for one in followers:
        await statuses.follow(one.id, [star.caller.user_id])
    best = float("inf")
    for number in range(REPEATS):
        await asyncio.sleep(0.002)
        started = time.perf_counter()
        statuses.show(star, f"playing, level {number}")
        star.run_after()
        best = min(best, time.perf_counter() - started)
    gateway.sessions.clear()
    await gateway.stop()
    return 1e6 * best


def _player(gateway: SocketGateway, number: int) -> _Player:
    caller = Caller(f"{number:08x}-0000-4000-8000-000000000000", f"player{number}", {}, "", 0, 0)
    player = _Player(gateway)
    player.caller, player.language, player.client_ip, player.show_status = caller, "en", "", False
    gateway.opened(player)
    return player
