"""Sessions whose connection was lost: kept for a while, and found again when their player comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from palestra.core.config import ResumeSettings

if TYPE_CHECKING:
    from palestra.gateway.websocket.socket import Socket

OnAway = Callable[["Socket"], None]


class AwaySessions:
    """Those of this node, the longest away first. Decides and remembers; acting on sockets is the gateway's."""

    def __init__(self, settings: ResumeSettings) -> None:
        self._settings = settings
        self._since: dict[Socket, float] = {}
        self._by_user: dict[str, list[Socket]] = {}
        self._steps: list[tuple[float, OnAway]] = []
        self._steps_taken: dict[Socket, int] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[Socket]:
        return iter(self._since)

    def on_away(self, after_seconds: float, callback: OnAway) -> None:
        """Call back for every session that has been away for so long."""
        self._steps.append((after_seconds, callback))
        self._steps.sort(key=lambda step: step[0])

    def add(self, socket: Socket, now: float) -> Socket | None:
        """Keep a session; the one of the same player that has to go for it."""
        self._since[socket] = now
        own = self._by_user.setdefault(socket.caller.user_id, [])
        own.append(socket)
        return own[0] if len(own) > self._settings.sessions_per_user_max else None

    def remove(self, socket: Socket) -> None:
        """It is back, or has ended."""
        if self._since.pop(socket, None) is None:
            return
        self._steps_taken.pop(socket, None)
        own = self._by_user[socket.caller.user_id]
        own.remove(socket)
        if not own:
            del self._by_user[socket.caller.user_id]

    def find(self, user_id: str, token_id: str, kind: type[Socket]) -> Socket | None:
        """The session that a new connection takes over: of its player and format, of the same log-in if possible."""
        own = self._by_user.get(user_id, ())
        fitting = [one for one in own if type(one) is kind and not one.resume_key and not one.settling]
        return next((one for one in fitting if one.caller.token_id == token_id), fitting[0] if fitting else None)

    def expired(self, now: float, count_max: int) -> list[Socket]:
        """The first of those whose time is up."""
        found: list[Socket] = []
        for socket, since in self._since.items():
            if now - since < self._settings.seconds or len(found) == count_max:
                break
            found.append(socket)
        return found

    def due(self, now: float) -> list[tuple[OnAway, Socket]]:
        """The callbacks whose time has come, each once for a session and an absence."""
        found: list[tuple[OnAway, Socket]] = []
        for socket, since in self._since.items():
            away_seconds = now - since
            if not self._steps or away_seconds < self._steps[0][0]:
                break
            taken = self._steps_taken.get(socket, 0)
            while taken < len(self._steps) and self._steps[taken][0] <= away_seconds:
                found.append((self._steps[taken][1], socket))
                taken += 1
            self._steps_taken[socket] = taken
        return found
