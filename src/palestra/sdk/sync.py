"""State sync: what has changed in a match since a player was last told, as small messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from palestra.core.errors import InvalidArgument, SetupError
from palestra.sdk.shapes import Shape

SNAPSHOT_OP, CHANGES_OP, ASK_OP = -1, -2, -3
"""Op codes of match data: to clients the first two, from clients the third."""
FORMAT = 1
STATE_BYTES_MAX = 262_144

Encoding = Literal["json", "binary"]
_NOTHING = object()


def shape_for(kinds: Sequence[Any], encoding: Encoding) -> Shape:
    """What states of these kinds look like in an encoding. Raises SetupError."""
    if encoding not in ("json", "binary"):
        raise SetupError(f'a state is synchronised as "json" or as "binary", not as {encoding!r}')
    return Shape(kinds, numbered=encoding == "binary")


class StateTooLarge(InvalidArgument):
    """A synchronised state has at most STATE_BYTES_MAX bytes when encoded."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"The state of this match has {size} bytes, at most {STATE_BYTES_MAX} can be synchronised: "
            "keep what clients need not see out of it, or give each player a view."
        )


class SyncMessage(NamedTuple):
    """Match data for some sessions of a match."""

    op_code: int
    data: bytes
    session_ids: list[str]


class _Look(NamedTuple):
    """What a player sees at a moment: as a tree, and encoded."""

    tree: dict[Any, Any]
    encoded: bytes


class _Known(NamedTuple):
    """What a session was last told, and in which version."""

    version: int
    look: _Look


class StateSync:
    """Keeps the clients of one match up to date. Call `messages` after each tick and send what it returns, reliably.

    Looks that are alike share one comparison and one encoding. Holds the last look of every session. Cost: O(size of
    the state) for each distinct look, and O(changes) for each message.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._encode = (msgspec.msgpack.Encoder() if shape.numbered else msgspec.json.Encoder()).encode
        self._head: dict[str, Any] = {"format": FORMAT}
        if shape.numbered:
            self._head["keys"] = shape.keys
        self._known: dict[str, _Known] = {}
        self._version = 0

    def forget(self, session_id: str) -> None:
        """Send this session a snapshot the next time: it asked, or it is a new one."""
        self._known.pop(session_id, None)

    def messages(self, session_ids: Iterable[str], see: Callable[[str], Any]) -> list[SyncMessage]:
        """What these sessions have to be told; `see` gives what a session may see. Others are forgotten.

        Raises StateTooLarge.
        """
        looks = self._looks({session_id: see(session_id) for session_id in session_ids})
        fresh: dict[int, tuple[_Look, list[str]]] = {}
        behind: dict[tuple[int, int, int], tuple[_Known, _Look, list[str]]] = {}
        known: dict[str, _Known] = {}
        for session_id, look in looks.items():
            told = self._known.get(session_id)
            if told is None:
                fresh.setdefault(id(look), (look, []))[1].append(session_id)
            elif told.look.encoded == look.encoded:
                known[session_id] = told
            else:
                group = (told.version, id(told.look), id(look))
                behind.setdefault(group, (told, look, []))[2].append(session_id)
        self._version += bool(behind)
        made: list[SyncMessage] = []
        for told, look, to in behind.values():
            made.append(self._changes(told, look, to))
            known.update(dict.fromkeys(to, _Known(self._version, look)))
        for look, to in fresh.values():
            made.append(self._snapshot(look, to))
            known.update(dict.fromkeys(to, _Known(self._version, look)))
        self._known = known
        return made

    def _looks(self, seen: dict[str, Any]) -> dict[str, _Look]:
        """Looks of all sessions; the same object for all who see the same."""
        values = {id(value): value for value in seen.values()}
        by_bytes: dict[bytes, _Look] = {}
        by_value: dict[int, _Look] = {}
        for name, tree in zip(values, self._shape.trees(values.values()), strict=True):
            look = self._look(tree)
            by_value[name] = by_bytes.setdefault(look.encoded, look)
        return {session_id: by_value[id(value)] for session_id, value in seen.items()}

    def _look(self, tree: Any) -> _Look:
        if type(tree) is not dict:
            raise TypeError(f"what a player sees of a state is a struct or a dict, not {tree!r:.100}")
        encoded = self._encode(tree)
        if len(encoded) > STATE_BYTES_MAX:
            raise StateTooLarge(len(encoded))
        return _Look(tree, encoded)

    def _snapshot(self, look: _Look, to: list[str]) -> SyncMessage:
        snapshot = {**self._head, "version": self._version, "state": msgspec.Raw(look.encoded)}
        return SyncMessage(SNAPSHOT_OP, self._encode(snapshot), to)

    def _changes(self, told: _Known, look: _Look, to: list[str]) -> SyncMessage:
        changes = changes_between(told.look.tree, look.tree)
        return SyncMessage(CHANGES_OP, self._encode([told.version, self._version, changes]), to)


def changes_between(old: dict[Any, Any], new: dict[Any, Any]) -> dict[Any, Any]:
    """By key: `[]` removes, a scalar or `[value]` sets, a dict is what changes inside.

    Removals stand first: a struct that takes the place of another may write the same name under another number.
    """
    made: dict[Any, Any] = {}
    if not old.keys() <= new.keys():
        made.update((key, []) for key in old if key not in new)
    for key, value in new.items():
        before = old.get(key, _NOTHING)
        if before is not value and before != value:
            made[key] = _change(before, value)
    return made


def _change(before: Any, value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return changes_between(before, value) if type(before) is dict else [value]
    if kind is list:
        return _changes_of_list(before, value) if type(before) is list else [value]
    return value


def _changes_of_list(old: list[Any], new: list[Any]) -> dict[Any, Any]:
    """By index, ascending; `#` is the new length of a list that became shorter."""
    made: dict[Any, Any] = {"#": len(new)} if len(new) < len(old) else {}
    for index, value in enumerate(new):
        before = old[index] if index < len(old) else _NOTHING
        if before is not value and before != value:
            made[index] = _change(before, value)
    return made
