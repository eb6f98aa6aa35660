"""State sync without a network: bytes per player and tick, and CPU per tick, beside other ways to tell the same."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from palestra.sdk.shapes import quantised
from palestra.sdk.sync import Encoding, StateSync, shape_for

UNITS, PLAYERS, TICKS = 100, 10, 200
REPEATS = 3
TICK_SECONDS = 0.05
Place = Annotated[float, quantised(0.1)]
SESSIONS = [f"player {number}" for number in range(PLAYERS)]


class Unit(msgspec.Struct):
    """A thing that moves."""

    x: Place
    y: Place
    vx: Place
    vy: Place
    hue: int
    score: int = 0


class Field(msgspec.Struct):
    """The state of a match."""

    units: dict[str, Unit]


class View(msgspec.Struct):
    """What one player may see, where players differ."""

    units: dict[str, Unit]
    own: str


Sent = Callable[[Any], int]
"""Tells all players what has changed in a state; how many bytes that were."""


def measured() -> dict[str, tuple[float, float]]:
    """(bytes per player and tick, µs per tick with the moves themselves), by what was done."""
    ways: dict[str, tuple[Callable[[], Any], Callable[[], Sent]]] = {
        "nothing sent": (_field, lambda: lambda state: 0),
        "whole state as JSON": (_field, lambda: _whole(msgspec.json.Encoder().encode)),
        "whole state as MessagePack": (_field, lambda: _whole(msgspec.msgpack.Encoder().encode)),
        "dirty properties, encoded per player": (_tracked_field, lambda: _tracked),
        "changes as JSON": (_field, lambda: _synced("json")),
        "changes, binary": (_field, lambda: _synced("binary")),
        "changes, binary, ten views": (_field, lambda: _viewed("binary")),
    }
    figures = {}
    for moving in (UNITS, UNITS // 5):
        for name, (make, way) in ways.items():
            figures[f"{moving} of {UNITS} move: {name}"] = min(
                (_ticked(make(), way(), moving) for _ in range(REPEATS)), key=lambda figure: figure[1]
            )
    return figures


def _ticked(state: Any, send: Sent, moving: int) -> tuple[float, float]:
    units = list(state.units.values())[:moving]
    send(state)  # snapshots
    count = 0
    started = time.process_time()
    for _ in range(TICKS):
        for unit in units:
            unit.x += unit.vx * TICK_SECONDS
            unit.y += unit.vy * TICK_SECONDS
        count += send(state)
    seconds = time.process_time() - started
    return count / TICKS / PLAYERS, 1e6 * seconds / TICKS


def _units(kind: Callable[..., Any]) -> dict[str, Any]:
    choose = random.Random(1)
    return {
        str(number): kind(
            choose.uniform(0, 1800), choose.uniform(0, 1200), choose.uniform(-300, 300), choose.uniform(-300, 300), 190
        )
        for number in range(UNITS)
    }


def _field() -> Field:
    return Field(_units(Unit))


def _whole(encode: Callable[[Any], bytes]) -> Sent:
    return lambda state: PLAYERS * len(encode(state))


def _synced(encoding: Encoding) -> Sent:
    sync = StateSync(shape_for([Field], encoding))
    return lambda state: _bytes(sync, lambda session: state)


def _viewed(encoding: Encoding) -> Sent:
    sync = StateSync(shape_for([View], encoding))
    return lambda state: _bytes(sync, lambda session: View(state.units, session))


def _bytes(sync: StateSync, see: Callable[[str], Any]) -> int:
    return sum(len(message.data) * len(message.session_ids) for message in sync.messages(SESSIONS, see))


# -- the other idea: properties note that they were set, and each player's message is written from the notes


class _Tracked:
    """A unit that notes which of its properties were set. Numbers travel as 32-bit floats, as is usual there."""

    NAMES = ("x", "y", "vx", "vy", "hue", "score")

    def __init__(self, x: float, y: float, vx: float, vy: float, hue: int, score: int = 0) -> None:
        object.__setattr__(self, "dirty", set(range(6)))
        for name, value in zip(self.NAMES, (x, y, vx, vy, hue, score), strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, name) != value:
            object.__setattr__(self, name, value)
            self.dirty.add(self.NAMES.index(name))

    dirty: set[int]


class _TrackedField:
    def __init__(self, units: dict[str, _Tracked]) -> None:
        self.units = units


def _tracked_field() -> _TrackedField:
    return _TrackedField(_units(_Tracked))


def _tracked(state: _TrackedField) -> int:
    size = 0
    pack, names = struct.Struct("<Bf").pack, _Tracked.NAMES
    changed = [(number, unit) for number, unit in enumerate(state.units.values()) if unit.dirty]
    for _ in SESSIONS:
        message = bytearray()
        for number, unit in changed:
            message += b"\xff%c" % number
            for index in unit.dirty:
                message += pack(0x80 | index, getattr(unit, names[index]))
        size += len(message)
    for _, unit in changed:
        unit.dirty.clear()
    return size
