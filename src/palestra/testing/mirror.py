"""A client's copy of a synchronised state, for tests: reads what `palestra-sync` reads in a browser."""

from __future__ import annotations

from typing import Any

import msgspec

from palestra.sdk.sync import CHANGES_OP, FORMAT, SNAPSHOT_OP

_Keys = list[tuple[str, int | None]]


class Mirror:
    """Receives match data and keeps `state`, plain dicts and lists, which is None before the first snapshot.

    `behind` says that a message was missed: the client then asks for a snapshot (ASK_OP) and waits for it.
    """

    def __init__(self) -> None:
        self.state: Any = None
        self.behind = False
        self._version = -1
        self._keys: _Keys = []

    def receive(self, op_code: int, data: bytes) -> bool:
        """Take a message; False if it is none of state sync."""
        if op_code == SNAPSHOT_OP:
            self._take_snapshot(_read(data))
        elif op_code == CHANGES_OP:
            self._take_changes(*_read(data))
        else:
            return False
        return True

    def _take_snapshot(self, snapshot: dict[str, Any]) -> None:
        if snapshot["format"] != FORMAT:
            raise ValueError(f"a snapshot of format {snapshot['format']}; this reads {FORMAT}")
        self._keys = [(key, None) if isinstance(key, str) else (key[0], key[1]) for key in snapshot.get("keys", ())]
        self._version = snapshot["version"]
        self.state = self._value(snapshot["state"], None)
        self.behind = False

    def _take_changes(self, since: int, version: int, changes: dict[Any, Any]) -> None:
        if since != self._version:
            # What is older than the snapshot in hand is contained in it.
            self.behind = self.behind or self.state is None or version > self._version
        elif not self.behind:
            self._apply(self.state, changes, None)
            self._version = version

    def _apply(self, node: Any, changes: dict[Any, Any], steps: int | None) -> None:
        if isinstance(node, list):
            for index, change in changes.items():
                if index == "#":
                    del node[change:]
                    continue
                at = int(index)
                if isinstance(change, dict):
                    self._apply(node[at], change, steps)
                else:
                    node[at : at + 1] = [self._set(change, steps)]
            return
        for key, change in changes.items():
            name, inner = self._keys[key] if isinstance(key, int) else (key, steps)
            if change == []:
                del node[name]
            elif isinstance(change, dict):
                self._apply(node[name], change, inner)
            else:
                node[name] = self._set(change, inner)

    def _set(self, change: Any, steps: int | None) -> Any:
        return self._value(change[0] if isinstance(change, list) else change, steps)

    def _value(self, value: Any, steps: int | None) -> Any:
        if isinstance(value, dict):
            made = {}
            for key, entry in value.items():
                name, inner = self._keys[key] if isinstance(key, int) else (key, steps)
                made[name] = self._value(entry, inner)
            return made
        if isinstance(value, list):
            return [self._value(item, steps) for item in value]
        return value / steps if steps is not None and isinstance(value, int | float) else value


def _read(data: bytes) -> Any:
    return msgspec.json.decode(data) if data[:1] in (b"{", b"[") else msgspec.msgpack.decode(data, strict=False)
