"""Followers: the players of one match whose clients keep a copy of its state."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from palestra.core.errors import SetupError
from palestra.features.matches.contract import MatchDesk, MatchMessage, MatchPlayer
from palestra.sdk.sync import ASK_OP, CHANGES_OP, SNAPSHOT_OP, Encoding, StateSync, shape_for

_RESERVED_OPS = {SNAPSHOT_OP, CHANGES_OP, ASK_OP}


class Synced:
    """How matches of a class are followed: what their clients see, and in which encoding. Raises SetupError."""

    def __init__(self, code: type, match: type, encoding: Encoding, place: str) -> None:
        self.has_views = getattr(code, "view") is not getattr(match, "view")  # noqa: B009
        seen = _result_of_view(code, place) if self.has_views else state_of(code, match)
        if seen is None or seen is Any or isinstance(seen, TypeVar):
            what = "the type of what `view` returns" if self.has_views else "the type of the state: Match[State]"
            raise SetupError(f"{place}: sync needs {what}")
        self._kinds = [seen]
        self._encoding: Encoding = encoding
        try:
            self.begin()
        except SetupError as error:
            raise SetupError(f"{place}: {error}") from None

    def begin(self) -> StateSync:
        """The sync of a new match."""
        return StateSync(shape_for(self._kinds, self._encoding))


class Followers:
    """Tells the players of one match what has changed for them."""

    def __init__(self, synced: Synced, desk: MatchDesk, view: Callable[[MatchPlayer], Any]) -> None:
        self._sync = synced.begin()
        self._desk = desk
        self._view = view

    def hear(self, messages: list[MatchMessage]) -> list[MatchMessage]:
        """Take out what is not for the game: requests for snapshots, and op codes that no client may send."""
        for message in messages:
            if message.op_code == ASK_OP:
                self._sync.forget(message.sender.session_id)
        return [message for message in messages if message.op_code not in _RESERVED_OPS]

    def tell(self) -> None:
        """Send snapshots and changes. Raises StateTooLarge, and what the game's view raises."""
        players = self._desk.players
        for message in self._sync.messages(players, lambda session_id: self._view(players[session_id])):
            to = None
            if len(message.session_ids) < len(players):
                to = [players[session_id] for session_id in message.session_ids]
            self._desk.broadcast(message.op_code, message.data, to=to, sender=None, reliable=True, deferred=False)


def state_of(code: type, match: type) -> Any:
    """`State` of the nearest `Match[State]` that a class is made of."""
    for ancestor in code.__mro__:
        for parent in getattr(ancestor, "__orig_bases__", ()):
            if typing.get_origin(parent) is match:
                return typing.get_args(parent)[0]
    return None


def _result_of_view(code: Any, place: str) -> Any:
    if inspect.iscoroutinefunction(code.view) or len(inspect.signature(code.view).parameters) != 2:
        raise SetupError(f"{place}: view takes (self, player) and is no `async def`")
    try:
        return typing.get_type_hints(code.view, include_extras=True).get("return")
    except NameError as error:
        raise SetupError(f"{place}: the type of what view returns cannot be read: {error}") from None
