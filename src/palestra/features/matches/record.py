"""The record of a match: one JSON text per line, all that its code was given, and hashes of its state."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from palestra.features.matches.contract import MatchMessage, MatchPlayer

FORMAT = 1
SUFFIX = ".ndjson"


class Heading(msgspec.Struct):
    """The first line: which match, which code, and where its time and its chance began."""

    format: int
    match_id: str
    name: str
    node: str
    module: str
    version: str
    ticks_per_second: int
    deferred_max: int
    started_at: float
    seed: int


class Init(msgspec.Struct, tag="init", array_like=True):
    """`init`, with parameters in MessagePack."""

    params: bytes


class Attempt(msgspec.Struct, tag="join_attempt", array_like=True):
    """`join_attempt`."""

    player: MatchPlayer
    metadata: dict[str, str]


class Join(msgspec.Struct, tag="join", array_like=True):
    """`join` of a player whose attempt came before, or was on another node: then with the player."""

    session_id: str
    player: MatchPlayer | None = None


class Restored(msgspec.Struct, tag="restore", array_like=True):
    """The match goes on from a snapshot of another node, in MessagePack, in the place of `init`."""

    snapshot: bytes


class Leave(msgspec.Struct, tag="leave", array_like=True):
    """`leave`: session ids and reasons."""

    departures: list[tuple[str, str]]


class Sent(msgspec.Struct, array_like=True):
    """A message of a tick."""

    session_id: str
    op_code: int
    data: bytes
    reliable: bool
    received_at: float


class Tick(msgspec.Struct, tag="tick", array_like=True):
    """`tick`."""

    messages: list[Sent]


class Signal(msgspec.Struct, tag="signal", array_like=True):
    """`signal`."""

    data: str


class Terminate(msgspec.Struct, tag="terminate", array_like=True):
    """`terminate`."""

    grace_seconds: float


class State(msgspec.Struct, tag="state", array_like=True):
    """The state after so many ticks, as a hash."""

    ticks: int
    hash: str


class Failed(msgspec.Struct, tag="failed", array_like=True):
    """What the callback before this line raised."""

    error: str


class End(msgspec.Struct, tag="end", array_like=True):
    """The last line. `reason` is "over", or why no more was recorded."""

    reason: str


Entry = Init | Restored | Attempt | Join | Leave | Tick | Signal | Terminate | State | Failed | End

write = msgspec.json.Encoder().encode
read_heading = msgspec.json.Decoder(Heading).decode
read_entry = msgspec.json.Decoder(Entry).decode


def entry_of(name: str, arguments: tuple[Any, ...]) -> Entry:
    """The line for a callback that is about to run."""
    match name:
        case "tick":
            return Tick([sent(message) for message in arguments[0]])
        case "init":
            return Init(*arguments)
        case "join_attempt":
            return Attempt(*arguments)
        case "join":
            return Join(arguments[0].session_id)
        case "arrive":
            return Join(arguments[0].session_id, arguments[0])
        case "restore":
            return Restored(msgspec.msgpack.encode(arguments[0]))
        case "leave":
            return Leave(*arguments)
        case "signal":
            return Signal(*arguments)
        case _:
            return Terminate(*arguments)


def sent(message: MatchMessage) -> Sent:
    """A message as it is recorded."""
    return Sent(message.sender.session_id, message.op_code, message.data, message.reliable, message.received_at)


def error_text(error: BaseException) -> str:
    """What an error is recorded as."""
    return f"{type(error).__name__}: {error}"


def hash_of(written_state: bytes, label: str) -> str:
    """The hash of a state and a label."""
    return blake2b(written_state + label.encode(), digest_size=16).hexdigest()
