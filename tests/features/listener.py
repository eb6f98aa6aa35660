"""Sessions in memory: they note the envelopes they are sent, and reply when a test says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from palestra.gateway.operation import Caller
from palestra.gateway.push import Push


class Listener:
    """Implements `Session`. What waits for the reply waits until `reply` is called."""

    def __init__(self, name: str, *, user_id: str = "", session_id: str = "") -> None:
        self.id = session_id or f"session-{name}"
        self.caller = Caller(user_id or f"user-{name}", name, {}, "", 0, 0)
        self.language = "en"
        self.client_ip = ""
        self.closing = False
        self.away = False
        self.node = ""
        self.moves = 0
        self.heard: list[Any] = []
        self._after: list[Callable[[], None]] = []

    def send(self, push: Push) -> None:
        """Note an envelope."""
        self.heard.append(json.loads(push.envelope()))

    def take(self, key: str = "") -> list[Any]:
        """What was heard of a kind since the last look, oldest first; everything, whole, without a kind."""
        taken = [one for one in self.heard if not key or key in one]
        self.heard = [one for one in self.heard if one not in taken]
        return [one[key] for one in taken] if key else taken

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Keep for the reply."""
        self._after.append(callback)

    def reply(self) -> None:
        """The message in hand has been answered."""
        callbacks, self._after = self._after, []
        for callback in callbacks:
            callback()

    def close(self, reason: str) -> None:
        """On its way out."""
        self.closing = True


class Connected:
    """Implements `ConnectedSockets` of listeners."""

    def __init__(self, *listeners: Listener) -> None:
        self.sessions: dict[str, Any] = {one.id: one for one in listeners}

    def of_user(self, user_id: str) -> Sequence[Any]:
        """Those of a player."""
        return [one for one in self.sessions.values() if one.caller.user_id == user_id]
