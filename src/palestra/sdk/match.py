"""Match: the class a game developer writes an authoritative match as, and how the platform runs it."""

from __future__ import annotations

import inspect
import random
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import msgspec
import msgspec.inspect

from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.features.matches.contract import (
    TICKS_PER_SECOND_MAX,
    BadLabel,
    BadMatchParams,
    CannotMove,
    MatchDesk,
    MatchMessage,
    MatchPlayer,
)
from palestra.sdk.bounds import Bounds, GameCodeTooSlow
from palestra.sdk.followers import Followers, Synced
from palestra.sdk.moving import Moving
from palestra.sdk.sync import Encoding

if TYPE_CHECKING:
    from palestra.sdk.context import Context
    from palestra.sdk.game import Game

State = TypeVar("State")

NAME_CHARS_MAX = 128
REPLAY_SECONDS_MAX = 60.0
"""How long a callback may take in a replay, perhaps under a debugger."""
_encode = msgspec.json.Encoder().encode
_write = msgspec.msgpack.Encoder(order="deterministic").encode
_NOTHING, _EMPTY = msgspec.msgpack.encode(None), msgspec.msgpack.encode({})
_CALLBACKS = {
    "init": ("(self)", "(self, params)"),
    "join_attempt": ("(self, player, metadata)",),
    "join": ("(self, players)",),
    "leave": ("(self, players)",),
    "tick": ("(self, messages)",),
    "terminate": ("(self, grace_seconds)",),
    "signal": ("(self, data)",),
    "snapshot": ("(self)",),
    "restore": ("(self, snapshot)",),
}


class Match(Generic[State]):
    """A match that this server runs. `State` is what it remembers, made by `init` and kept in `self.state`.

    ::

        class Scores(msgspec.Struct):
            points: dict[str, int] = {}

        @game.match("arena", ticks_per_second=20)
        class Arena(Match[Scores]):
            def init(self, params: Params) -> Scores:
                return Scores()

            def tick(self, messages):
                for message in messages:
                    self.broadcast(message.op_code, message.data, sender=message.sender)

    Callbacks run one after the other, never at once. A plain `def` is run in place: keep it short. An `async def` may
    await, for example `self.ctx.storage`; ticks that fall due meanwhile are late, or missed. What a callback raises
    ends the match and disconnects its players; other matches go on. `init` and `tick` must be there, the others may.
    """

    state: State
    _desk: MatchDesk
    _context: Callable[[], Context]

    # -- for the game to write

    def init(self, *params: Any, **_: Any) -> State | Coroutine[Any, Any, State]:
        """Make the state: `def init(self, params: Params) -> State`, or `def init(self) -> State`.

        `params` are those of `ctx.matches.create`, checked against the type written here. Set the label here.
        """
        raise NotImplementedError

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> Any:
        """Decide whether a player may come in: return, or `raise GameError("full")` to refuse.

        `metadata` comes from the player's client: believe nothing.
        """

    def join(self, players: list[MatchPlayer]) -> Any:
        """Players have come; they are in `self.players` already."""

    def leave(self, players: list[MatchPlayer]) -> Any:
        """Players have gone, `player.left` says why; they are no longer in `self.players`."""

    def tick(self, messages: list[MatchMessage]) -> Any:
        """One step of the game, with the messages since the last one in the order of their arrival."""
        raise NotImplementedError

    def view(self, player: MatchPlayer) -> Any:
        """What a player's client may see of the state, where the match is declared with `sync`: all of it.

        Write it with the type of what it returns, `def view(self, player) -> Table`, to hide something. It is asked for
        each player after each tick; it changes nothing. Who is given equal views shares their encoding.
        """
        return self.state

    def terminate(self, grace_seconds: float) -> Any:
        """The server will stop in so many seconds. Ends the match at once unless written otherwise."""
        self.end()

    def signal(self, data: str) -> Any:
        """Answer text from the server, given by `ctx.matches.signal`; a GameError raised here goes back there."""
        return ""

    def snapshot(self) -> Any:
        """What another node needs to go on with this match, of types that msgspec can write: the state."""
        return self.state

    def restore(self, snapshot: Any) -> Any:
        """The state made of a snapshot, in the place of `init`; write it with the type: `snapshot: Kept`."""
        return snapshot

    # -- for the game to use

    @property
    def id(self) -> str:
        """The match's id, by which players join."""
        return self._desk.id

    @property
    def name(self) -> str:
        """The name under which this kind of match was declared."""
        return self._desk.name

    @property
    def node(self) -> str:
        """The node that runs it."""
        return self._desk.node

    @property
    def ticks_per_second(self) -> int:
        """The tick rate."""
        return self._desk.ticks_per_second

    @property
    def tick_number(self) -> int:
        """How many ticks there were before this one."""
        return self._desk.tick_number

    @property
    def now(self) -> float:
        """Unix seconds of this tick: the match's beginning and its ticks since, the same in a replay.

        It does not follow a clock: ticks that were missed do not count.
        """
        return self._desk.now

    @property
    def random(self) -> random.Random:
        """The match's own source of chance, seeded when it began, the same in a replay."""
        return self._desk.random

    @property
    def players(self) -> list[MatchPlayer]:
        """Who is in the match, in the order of joining. O(players)."""
        return list(self._desk.players.values())

    @property
    def player_count(self) -> int:
        """How many are in the match."""
        return len(self._desk.players)

    @property
    def label(self) -> str:
        """What listings show and queries find the match by; JSON text if it was set to an object.

        Set it to text, or to a dict or struct: `self.label = {"mode": "duel", "open": True}` is found by
        `+label.mode:duel +label.open:T`, from now on.
        """
        return self._desk.label

    @label.setter
    def label(self, label: Any) -> None:
        if not isinstance(label, str):
            try:
                label = _encode(label).decode()
            except (TypeError, ValueError) as error:
                raise BadLabel(f"a label is text or what can be written as JSON: {error}") from None
        self._desk.set_label(label)

    @property
    def ctx(self) -> Context:
        """The platform, as functions get it; for `async def` callbacks. A replay does without: see the guide."""
        return self._context()

    @property
    def log(self) -> Any:
        """A structured logger that names the match."""
        return get_logger(self.name).bind(match_id=self.id)

    def broadcast(
        self,
        op_code: int,
        data: Any = b"",
        *,
        to: Iterable[MatchPlayer] | None = None,
        sender: MatchPlayer | None = None,
        reliable: bool = True,
        deferred: bool = False,
    ) -> None:
        """Send to all players, or only `to` some; an empty list is nobody, and who is not in the match gets nothing.

        `data` is bytes, text, or anything else msgspec can write as JSON. `sender` is shown as where it comes from.
        What is not `reliable` may be left out for a player who does not keep up. `deferred`, it goes out when this
        callback is done. It is encoded once, however many get it.
        """
        if not isinstance(data, bytes):
            data = data.encode() if isinstance(data, str) else _encode(data)
        self._desk.broadcast(op_code, data, to=to, sender=sender, reliable=reliable, deferred=deferred)

    def kick(self, *players: MatchPlayer) -> None:
        """Put players out; `leave` is called with them after this callback. They are told nothing else."""
        self._desk.kick(players)

    def end(self) -> None:
        """End the match when this callback is done. Players are told nothing: tell them before."""
        self._desk.end()


# -- declaring


@dataclass(slots=True, frozen=True)
class MatchType:
    """Matches of one kind: the class, and what its `init` takes (None where it takes nothing)."""

    name: str
    code: type[Match[Any]]
    ticks_per_second: int
    record: bool
    read: Callable[[bytes], Any] | None
    synced: Synced | None
    moving: Moving
    checkpoint_ticks: int
    place: str


def match_type(
    name: str,
    code: type[Match[Any]],
    ticks_per_second: int,
    record: bool,
    sync: Encoding | None,
    checkpoint_ticks: int = 0,
) -> MatchType:
    """Look a class over. Raises SetupError, which names the place and what to do."""
    if not (isinstance(code, type) and issubclass(code, Match)):
        raise SetupError(f"@game.match({name!r}) stands above a class: `class Arena(Match[State])`, not {code!r}")
    own: Any = getattr(code.tick, "__code__", None)
    place = f"{code.__qualname__} ({own.co_filename}:{own.co_firstlineno})" if own else code.__qualname__
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        raise SetupError(f"{place}: a match's name has 1 to {NAME_CHARS_MAX} characters")
    if not 1 <= ticks_per_second <= TICKS_PER_SECOND_MAX:
        raise SetupError(f"{place}: ticks_per_second is 1 to {TICKS_PER_SECOND_MAX}, not {ticks_per_second}")
    for required in ("init", "tick"):
        if getattr(code, required) is getattr(Match, required):
            raise SetupError(f"{place}: it needs a method {required}{_CALLBACKS[required][-1]}")
    for callback, shapes in _CALLBACKS.items():
        parameters = inspect.signature(getattr(code, callback)).parameters.values()
        plain = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        if len(plain) != len(parameters) or len(plain) not in [shape.count(",") + 1 for shape in shapes]:
            raise SetupError(f"{place}: {callback} takes {' or '.join(shapes)}")
    synced = None if sync is None else Synced(code, Match, sync, place)
    if synced is None and code.view is not Match.view:
        raise SetupError(f'{place}: nobody asks for view: declare @game.match({name!r}, sync="json") or "binary"')
    moving = Moving(code, Match, place)
    if checkpoint_ticks < 0:
        raise SetupError(f"{place}: checkpoint_ticks is 0 or more, not {checkpoint_ticks}")
    if checkpoint_ticks and moving.reason:
        raise SetupError(f"{place}: checkpoint_ticks needs snapshots: {moving.reason}")
    read = _reader(code, place)
    return MatchType(name, code, ticks_per_second, record, read, synced, moving, checkpoint_ticks, place)


def _reader(code: type[Match[Any]], place: str) -> Callable[[bytes], Any] | None:
    """How the parameters are read; None where `init` takes none."""
    parameters = list(inspect.signature(code.init).parameters)
    if len(parameters) == 1:
        return None
    try:
        kind = typing.get_type_hints(code.init, include_extras=True).get(parameters[1], Any)
        decode = msgspec.msgpack.Decoder(kind).decode
        if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
            raise TypeError(f"{kind!r} is neither a msgspec.Struct nor a dataclass nor a plain type")
    except (NameError, TypeError) as error:
        raise SetupError(f"{place}: the type of init's {parameters[1]!r} cannot be read: {error}") from None

    def read(params: bytes) -> Any:
        try:
            return decode(params)
        except msgspec.ValidationError:
            if params != _NOTHING:
                raise
            # Begun without parameters: a struct has its defaults.
            return decode(_EMPTY)

    return read


# -- running


class MatchCodeFailed(Exception):
    """Match code did what it may not; the match ends."""


class NoPlatformInReplay(Exception):
    """`self.ctx` was asked for while a match is replayed."""

    def __init__(self) -> None:
        super().__init__("a replay has no platform: give the match what it needs from ctx as parameters or by signal")


def replay_handler(games: Iterable[Game], name: str) -> BoundHandler:
    """The match of a name, to be run without a node. Raises SetupError."""
    found = [(game, game.matches[name]) for game in games if name in game.matches]
    if not found:
        raise SetupError(f"there is no @game.match({name!r}) in the game module")

    def no_platform() -> NoReturn:
        raise NoPlatformInReplay

    game, declared = found[0]
    return BoundHandler(declared, game, Bounds(REPLAY_SECONDS_MAX), no_platform)


class BoundHandler:
    """Implements `MatchHandler`: a declared kind of match on a node."""

    def __init__(self, declared: MatchType, game: Game, bounds: Bounds, context: Callable[[], Context]) -> None:
        self.declared = declared
        self.name = declared.name
        self.ticks_per_second = declared.ticks_per_second
        self.record = declared.record
        self.checkpoint_ticks = declared.checkpoint_ticks
        self.module = str(game.file)
        self.version = game.version
        self._bounds = bounds
        self._context = context

    def begin(self, desk: MatchDesk) -> BoundMatch:
        """The game code of a new match."""
        return BoundMatch(self.declared, desk, self._bounds, self._context)


class BoundMatch:
    """Implements `MatchCode`: one match of a class, run within bounds of time."""

    def __init__(self, declared: MatchType, desk: MatchDesk, bounds: Bounds, context: Callable[[], Context]) -> None:
        code = declared.code
        match = code.__new__(code)
        match._desk = desk
        match._context = context
        self._match = match
        self._read = declared.read
        self._moving = declared.moving
        self._bounds = bounds
        self._followers = Followers(declared.synced, desk, match.view) if declared.synced else None

    def _run(self, code: Callable[[Any], Any], argument: Any) -> Awaitable[Any] | None:
        try:
            result = self._bounds.step(code, argument)
        except GameCodeTooSlow as error:
            raise MatchCodeFailed(error.message) from None
        return None if result is None or not inspect.iscoroutine(result) else self._rest(result)

    def _told(self, waiting: Awaitable[Any] | None) -> Awaitable[Any] | None:
        """When a callback is done, tell the players what it changed."""
        if self._followers is None:
            return waiting
        if waiting is None:
            return self._run(lambda followers: followers.tell(), self._followers)
        return self._told_later(waiting)

    async def _told_later(self, waiting: Awaitable[Any]) -> None:
        await waiting
        self._told(None)

    async def _rest(self, coroutine: Any) -> Any:
        try:
            return await self._bounds.run(coroutine)
        except GameCodeTooSlow as error:
            raise MatchCodeFailed(error.message) from None

    def init(self, params: bytes) -> Awaitable[None] | None:
        """Make the state."""
        match = self._match
        if self._read is None:
            given: tuple[Any, ...] = ()
        else:
            try:
                given = (self._read(params),)
            except (msgspec.DecodeError, RecursionError) as error:
                raise BadMatchParams(f"parameters of {match.name!r}: {error}") from None
        match.__init__()

        def make(_: None) -> Any:
            return match.init(*given)

        try:
            state = self._bounds.step(make, None)
        except GameCodeTooSlow as error:
            raise MatchCodeFailed(error.message) from None
        if inspect.iscoroutine(state):
            return self._init_rest(state)
        return self._begin_with(state)

    async def _init_rest(self, coroutine: Any) -> None:
        self._begin_with(await self._rest(coroutine))

    def _begin_with(self, state: Any) -> None:
        if state is None:
            raise MatchCodeFailed("init returns the match's state, not None")
        self._match.state = state

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> Awaitable[Any] | None:
        """Let a player in by returning."""
        return self._run(lambda metadata: self._match.join_attempt(player, metadata), metadata)

    def join(self, players: list[MatchPlayer]) -> Awaitable[Any] | None:
        """Players came."""
        return self._told(self._run(self._match.join, players))

    def leave(self, players: list[MatchPlayer]) -> Awaitable[Any] | None:
        """Players went."""
        return self._run(self._match.leave, players)

    def tick(self, messages: list[MatchMessage]) -> Awaitable[Any] | None:
        """A tick."""
        if self._followers is not None:
            messages = self._followers.hear(messages)
        return self._told(self._run(self._match.tick, messages))

    def terminate(self, grace_seconds: float) -> Awaitable[Any] | None:
        """The node will stop."""
        return self._run(self._match.terminate, grace_seconds)

    def signal(self, data: str) -> Awaitable[str] | str:
        """The match's answer."""
        try:
            result = self._bounds.step(self._match.signal, data)
        except GameCodeTooSlow as error:
            raise MatchCodeFailed(error.message) from None
        return self._signal_rest(result) if inspect.iscoroutine(result) else _answer(result)

    async def _signal_rest(self, coroutine: Any) -> str:
        return _answer(await self._rest(coroutine))

    def written_state(self) -> bytes:
        """The state, always written in the same way."""
        return _write(self._match.state)

    def snapshot(self) -> bytes:
        """All that the code knows. Raises CannotMove."""
        try:
            return self._bounds.step(self._moving.write, self._match)
        except GameCodeTooSlow as error:
            raise CannotMove(error.message) from None

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot."""
        match = self._match
        own, written = self._moving.read(snapshot)
        match.__init__()
        vars(match).update(own)
        self._begin_with(self._bounds.step(match.restore, written))


def _answer(result: Any) -> str:
    if result is None:
        return ""
    if not isinstance(result, str):
        raise MatchCodeFailed(f"signal returns text, not {type(result).__name__}")
    return result
