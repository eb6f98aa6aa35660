"""Game: what a module declares, by decorators. Declaring does nothing yet; a node binds it at start."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import msgspec.inspect
from msgspec.structs import replace

from palestra.core.errors import SetupError
from palestra.features.events.contract import SESSION_END, SESSION_START
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from palestra.features.matchmaker.contract import TICKET_FIELDS, Drop, Relaxation, Window
from palestra.features.storage.contract import Index, Keep
from palestra.sdk.match import Match, MatchType, match_type
from palestra.sdk.sync import Encoding

AsyncCode = Callable[..., Coroutine[Any, Any, Any]]
F = TypeVar("F", bound=AsyncCode)
M = TypeVar("M", bound=type[Match[Any]])
FUNCTION_ID_CHARS_MAX = 128


@dataclass(slots=True, frozen=True)
class Function:
    """A server-side function: its code, how its payload is read and how its result is written."""

    id: str
    code: AsyncCode
    read: Callable[[str], Any] | None
    write: Callable[[Any], str] | None
    place: str


@dataclass(slots=True, frozen=True)
class Hook:
    """Game code before or after an operation."""

    operation: str
    code: AsyncCode
    place: str


@dataclass(slots=True, frozen=True)
class GameJob:
    """Game code that a worker runs; `payload` is its type, None where the code takes none."""

    name: str
    code: AsyncCode
    payload: Any
    cron: str
    attempts_max: int
    seconds_max: float
    place: str


@dataclass(slots=True, frozen=True)
class StaticFolder:
    """A folder of files served under a path."""

    path: str
    folder: Path


class Game:
    """A game's server logic.

    ::

        game = Game("harvest")

        @game.rpc
        async def hello(ctx, request: Hello) -> Greeting: ...

    `name` is for logs and metrics. Relative folders are taken from where the module's file is.
    """

    def __init__(self, name: str) -> None:
        if not name:
            raise SetupError('a game needs a name: Game("my-game")')
        self.name = name
        self.functions: dict[str, Function] = {}
        self.before_hooks: list[Hook] = []
        self.after_hooks: list[Hook] = []
        self.start_hooks: list[AsyncCode] = []
        self.event_hooks: list[AsyncCode] = []
        self.session_hooks: dict[str, list[AsyncCode]] = {SESSION_START: [], SESSION_END: []}
        self.end_hooks: dict[type, list[AsyncCode]] = {}
        self.jobs: list[GameJob] = []
        self.matches: dict[str, MatchType] = {}
        self.static_folders: list[StaticFolder] = []
        self.round_settler: AsyncCode | None = None
        self.purchase_hooks: list[AsyncCode] = []
        self.refund_hooks: list[AsyncCode] = []
        self.indexes: dict[str, Index] = {}
        self.matched_hooks: list[AsyncCode] = []
        self.match_former: AsyncCode | None = None
        self.match_former_seconds = 0.0
        self.relaxations: list[Relaxation] = []
        file = Path(sys._getframe(1).f_globals.get("__file__", ".")).resolve()
        self.file = file
        self._folder = file.parent
        self.version = source_version(file.parent, [file])
        """Which code this is; records of rounds hold it. See `source_version`."""

    @overload
    def rpc(self, function: F) -> F: ...
    @overload
    def rpc(self, function: str) -> Callable[[F], F]: ...
    def rpc(self, function: Any) -> Any:
        """Offer a function to clients: `@game.rpc`, or `@game.rpc("other.name")` under another id.

        The function is `async def f(ctx)` or `async def f(ctx, request: T) -> R`: T is what the payload's JSON is
        checked against (any type msgspec knows), or `str` for the payload as it is; R is written as JSON, `str` as it
        is, None as nothing.
        """
        if isinstance(function, str):
            return lambda code: self._add_function(function, code)
        return self._add_function(function.__name__, function)

    def _add_function(self, function_id: str, code: F) -> F:
        place = place_of(code)
        _require_async(code, place)
        if not 1 <= len(function_id) <= FUNCTION_ID_CHARS_MAX:
            raise SetupError(f"{place}: a function's id has 1 to {FUNCTION_ID_CHARS_MAX} characters")
        key = function_id.lower()
        if key in self.functions:
            raise SetupError(f"{place}: {function_id!r} is already the id of {self.functions[key].place}")
        parameters = _require_parameters(code, place, "(ctx)", "(ctx, request)")
        read = _reader(_type_of(parameters[1], code, place), place) if len(parameters) == 2 else None
        write = _writer(_hints(code, place).get("return", typing.Any))
        self.functions[key] = Function(function_id, code, read, write, place)
        return code

    def index(
        self, name: str, *, collection: str, fields: Iterable[str], sortable: Iterable[str] = (), key: str = ""
    ) -> Callable[[Keep], Keep]:
        """Declare an index over stored objects of a collection, for `ctx.storage.search`.

        `fields` are paths into the values, such as `level` or `stats.level`; results can be sorted by those among them
        that are `sortable`. With `key` only objects of that key are in it. What this returns decorates a function
        `def keep(write: ObjectWrite) -> bool` that says which objects are; without one all are. It decides by the write
        alone, at once.
        """
        if name in self.indexes:
            raise SetupError(f"{self.name}: there is an index {name!r} already")
        index = self.indexes[name] = Index(name, collection, key, tuple(fields), tuple(sortable))

        def decide(keep: Keep) -> Keep:
            if inspect.iscoroutinefunction(keep):
                raise SetupError(f"{place_of(keep)}: what an index keeps is decided at once, by `def`, not `async def`")
            self.indexes[name] = replace(index, keep=keep, keep_text=_source_of(keep))
            return keep

        return decide

    def before(self, operation: str) -> Callable[[F], F]:
        """Run before an operation, by its name: `async def hook(ctx, request)` returns the request, changed or not.

        Raising GameError refuses the call; returning None switches the operation off.
        """
        return lambda code: self._add_hook(self.before_hooks, operation, code, "(ctx, request)")

    def after(self, operation: str) -> Callable[[F], F]:
        """Run after an operation succeeded: `async def hook(ctx, response, request)`. It cannot change the answer."""
        return lambda code: self._add_hook(self.after_hooks, operation, code, "(ctx, response, request)")

    def _add_hook(self, hooks: list[Hook], operation: str, code: F, parameters: str) -> F:
        place = place_of(code)
        _require_async(code, place)
        _require_parameters(code, place, parameters)
        hooks.append(Hook(operation, code, place))
        return code

    def on_start(self, code: F) -> F:
        """Run once when a node starts, before it serves players; again after a live reload. Make it repeatable."""
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), "(ctx)")
        self.start_hooks.append(code)
        return code

    def on_event(self, code: F) -> F:
        """Run for every event that clients or the server report: `async def handler(ctx, event)`."""
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), "(ctx, event)")
        self.event_hooks.append(code)
        return code

    def on_session_start(self, code: F) -> F:
        """Run when a player's socket was opened: `async def handler(ctx, event)`, a `SessionEvent`.

        This and `on_session_end` run in the background, one after the other, and are dropped when too many wait.
        """
        return self._add_session_hook(SESSION_START, code)

    def on_session_end(self, code: F) -> F:
        """Run when a player's socket has ended: `event.properties["reason"]` says why, "" when the client left."""
        return self._add_session_hook(SESSION_END, code)

    def _add_session_hook(self, name: str, code: F) -> F:
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), "(ctx, event)")
        self.session_hooks[name].append(code)
        return code

    def on_tournament_end(self, code: F) -> F:
        """Run when a window of a tournament has closed: `async def handler(ctx, end)`, a `TournamentEnd`.

        This and the two below run at least once for each end, also for those that fell while no node was running, in
        order of time. So make what they do repeatable: give prizes with a key of their own.
        """
        return self._add_end_hook(TournamentEnd, code, "(ctx, end)")

    def on_tournament_reset(self, code: F) -> F:
        """Run when a period of a tournament has ended: `async def handler(ctx, reset)`, a `TournamentReset`."""
        return self._add_end_hook(TournamentReset, code, "(ctx, reset)")

    def on_leaderboard_reset(self, code: F) -> F:
        """Run when a period of a leaderboard has ended: `async def handler(ctx, reset)`, a `LeaderboardReset`."""
        return self._add_end_hook(LeaderboardReset, code, "(ctx, reset)")

    def _add_end_hook(self, kind: type, code: F, parameters: str) -> F:
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), parameters)
        self.end_hooks.setdefault(kind, []).append(code)
        return code

    def on_purchase(self, code: F) -> F:
        """Say what a new purchase is worth: `async def f(ctx, purchase) -> dict[str, int]`, amounts by asset, or None.

        They are credited in the transaction that keeps the purchase, once for ever. It may run more than once for a
        purchase, and what it raises refuses the receipt: only decide, do not act.
        """
        return self._add_store_hook(self.purchase_hooks, code, "(ctx, purchase)")

    def on_refund(self, code: F) -> F:
        """Run when a store gives money back or revokes what it sold: `async def f(ctx, refund)`, a `Refund`.

        At least once for each, as a durable job that is tried again when it raises: make it repeatable.
        """
        return self._add_store_hook(self.refund_hooks, code, "(ctx, refund)")

    def _add_store_hook(self, hooks: list[AsyncCode], code: F, parameters: str) -> F:
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), parameters)
        hooks.append(code)
        return code

    def settle_round(self, code: F) -> F:
        """Say how a round of policy "settle" ends that nobody ended in time: `async def f(ctx, round) -> Settlement`.

        It may run more than once for a round, also after a restart: decide by the round alone, and
        draw by its id: `ctx.fair.draw(player, key=round.id)`.
        """
        place = place_of(code)
        _require_async(code, place)
        _require_parameters(code, place, "(ctx, round)")
        if self.round_settler is not None:
            raise SetupError(f"{place}: {place_of(self.round_settler)} settles the rounds of this game already")
        self.round_settler = code
        return code

    def matched(self, code: F) -> F:
        """Say where players meet who were matched: `async def f(ctx, match) -> str | None`, a `Formed`.

        The id of a match that was made for them; None, or a failure, lets them meet in a relayed one. They are told
        afterwards.
        """
        _require_async(code, place_of(code))
        _require_parameters(code, place_of(code), "(ctx, match)")
        self.matched_hooks.append(code)
        return code

    def form_matches(self, *, every_seconds: float = 1.0) -> Callable[[F], F]:
        """Form the matches yourself: `async def f(ctx, tickets) -> list[list[TicketInfo]]`, every so often.

        It gets those who wait, the longest first, and returns who plays together, by tickets. It takes the place of the
        matchmaker's own search: counts and queries are yours to look at.
        """

        def declare(code: F) -> F:
            place = place_of(code)
            _require_async(code, place)
            _require_parameters(code, place, "(ctx, tickets)")
            if self.match_former is not None:
                raise SetupError(f"{place}: {place_of(self.match_former)} forms the matches of this game already")
            if not 0.01 <= every_seconds <= 3600:
                raise SetupError(f"{place}: every_seconds is from 0.01 to 3600")
            self.match_former, self.match_former_seconds = code, every_seconds
            return code

        return declare

    def relax(self, *, drop: str, after_seconds: float) -> None:
        """Drop a field from queries of waiting tickets: `game.relax(drop="properties.region", after_seconds=10)`."""
        if not drop.startswith("properties.") and drop not in TICKET_FIELDS:
            raise SetupError(f"relax: queries know no field {drop!r}; did you mean 'properties.{drop}'?")
        if after_seconds < 0:
            raise SetupError(f"relax: after_seconds is 0 or more, not {after_seconds}")
        self.relaxations.append(Drop(after_seconds, drop))

    def near(self, property: str, *, start: float, step: float, every_seconds: float, most: float) -> None:
        """Match numbers that are near each other: `game.near("skill", start=50, step=50, every_seconds=5, most=400)`.

        A ticket takes others within `start` of its own number at first, and `step` further with every `every_seconds`
        that it waits, up to `most`. Tickets without the number are not bound by it.
        """
        if min(start, step, most) < 0 or every_seconds < 0.1:
            raise SetupError("near: start, step and most are 0 or more, every_seconds is 0.1 or more")
        self.relaxations.append(Window(property, start, step, every_seconds, most))

    @overload
    def job(self, job: F) -> F: ...
    @overload
    def job(self, job: str = "", *, attempts_max: int = 5, seconds_max: float = 60.0) -> Callable[[F], F]: ...
    def job(self, job: Any = "", *, attempts_max: int = 5, seconds_max: float = 60.0) -> Any:
        """Let a worker run code that was put into the queue by `await ctx.jobs.enqueue(name, payload)`.

        `@game.job`, or `@game.job("other.name", attempts_max=3)`. The code is `async def f(ctx)` or `async def f(ctx,
        payload: T)` with T as in `rpc`. It may run again for work that it did already: make it idempotent. What it
        raises, and taking longer than `seconds_max`, counts as a failed try.
        """
        if isinstance(job, str):
            return lambda code: self._add_job(job or code.__name__, code, "", attempts_max, seconds_max)
        return self._add_job(job.__name__, job, "", attempts_max, seconds_max)

    def cron(self, schedule: str, *, attempts_max: int = 5, seconds_max: float = 60.0) -> Callable[[F], F]:
        """Run `async def f(ctx)` by the clock, in UTC, on one worker: `@game.cron("0 3 * * *")`. As a job otherwise."""
        return lambda code: self._add_job(code.__name__, code, schedule, attempts_max, seconds_max)

    def _add_job(self, name: str, code: F, cron: str, attempts_max: int, seconds_max: float) -> F:
        place = place_of(code)
        _require_async(code, place)
        wanted = ("(ctx)",) if cron else ("(ctx)", "(ctx, payload)")
        parameters = _require_parameters(code, place, *wanted)
        payload = None
        if len(parameters) == 2:
            payload = _type_of(parameters[1], code, place)
            _reader(payload, place)
        self.jobs.append(GameJob(name, code, payload, cron, attempts_max, seconds_max, place))
        return code

    def match(
        self,
        name: str,
        *,
        ticks_per_second: int = 10,
        record: bool = False,
        sync: Encoding | None = None,
        checkpoint_ticks: int = 0,
    ) -> Callable[[M], M]:
        """Declare matches that this server runs: `@game.match("arena", ticks_per_second=20)` on a class of `Match`.

        `await ctx.matches.create("arena", params)` begins one. 1 to 60 ticks a second. With `record`, what happens to
        each is written to a file that `palestra replay` can run again. With `sync`, "json" or "binary", clients are
        told how the state changes, each what its `view` shows. With `checkpoint_ticks` and a redis_url, what there is
        of each match is kept there every so many ticks, and another node goes on from it when this one dies.
        """

        if not isinstance(name, str):
            raise SetupError('@game.match needs the name of the match: @game.match("arena")')

        def declare(code: M) -> M:
            declared = match_type(name, code, ticks_per_second, record, sync, checkpoint_ticks)
            if name in self.matches:
                raise SetupError(f"{declared.place}: {name!r} is already the name of {self.matches[name].place}")
            self.matches[name] = declared
            return code

        return declare

    def static(self, path: str, folder: str) -> None:
        """Serve the files of a folder beside the module under `path`, such as a web client."""
        self.static_folders.append(StaticFolder(path, self._folder / folder))


def source_version(folder: Path, files: Iterable[Path]) -> str:
    """Which code some files hold: the SHA-256 of the one file in hex; of several, that of `sha256sum`'s lines by name.

    Names are relative to `folder`. What is no file, such as code typed at a prompt, does not count.
    """
    found = {file.relative_to(folder).as_posix(): file for file in files if file.is_file()}
    digests = {name: sha256(file.read_bytes()).hexdigest() for name, file in found.items()}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()).hexdigest()


def place_of(code: Callable[..., Any]) -> str:
    """Where code stands: its name, file and line."""
    own = getattr(code, "__code__", None)
    name = getattr(code, "__qualname__", repr(code))
    return f"{name} ({own.co_filename}:{own.co_firstlineno})" if own else name


def _source_of(code: Callable[..., Any]) -> str:
    """The text of a function; where that is not to be had, its compiled form."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return code.__code__.co_code.hex() if hasattr(code, "__code__") else repr(type(code))


def _require_async(code: Callable[..., Any], place: str) -> None:
    if not inspect.iscoroutinefunction(code):
        raise SetupError(f"{place}: write it as `async def`")


def _require_parameters(code: Callable[..., Any], place: str, *wanted: str) -> list[str]:
    """The names of the parameters, of which there must be as many as in one of `wanted`, all given by position."""
    signature = inspect.signature(code)
    parameters = signature.parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) != len(parameters) or len(positional) not in [text.count(",") + 1 for text in wanted]:
        raise SetupError(f"{place}: it takes {' or '.join(wanted)}, not {signature}")
    return positional


def _hints(code: Callable[..., Any], place: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(code, include_extras=True)
    except NameError as error:
        raise SetupError(f"{place}: a type is not defined: {error}") from None


def _type_of(parameter: str, code: Callable[..., Any], place: str) -> Any:
    """What the code says that the payload is."""
    hints = _hints(code, place)
    if parameter not in hints:
        raise SetupError(f"{place}: give {parameter!r} a type, for example `{parameter}: str` for the raw payload")
    return hints[parameter]


def _reader(kind: Any, place: str) -> Callable[[str], Any] | None:
    if kind is str:
        return str
    try:
        decode = msgspec.json.Decoder(kind).decode
        if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
            raise TypeError(f"{kind!r} is neither a msgspec.Struct nor a dataclass nor a plain type")
    except TypeError as error:
        raise SetupError(f"{place}: the payload's type cannot be read from JSON: {error}") from None
    return lambda payload: decode(payload or "{}")


_encode = msgspec.json.Encoder().encode


def _writer(kind: Any) -> Callable[[Any], str] | None:
    """None where results need no writing: text and nothing. Where no type is given, the result itself tells."""
    if kind in (str, type(None), str | None):
        return None
    if kind is typing.Any:
        return lambda result: result if isinstance(result, str) else _encode(result).decode()
    return lambda result: _encode(result).decode()
