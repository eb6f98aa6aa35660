"""Binds declared games to a node: functions, hooks, start and event handlers, live reload."""

from __future__ import annotations

import copy
import difflib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from palestra.core.errors import Code, GameError, Overloaded, PalestraError, SetupError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import ends_task
from palestra.features.events.contract import ClientEvent, SessionEvent
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from palestra.features.matchmaker.contract import Formed, Relaxation, TicketInfo
from palestra.features.purchases.contract import Purchase, Refund
from palestra.features.rounds.contract import Round, Settlement
from palestra.features.rpc.contract import FunctionFailed, FunctionNotFound
from palestra.features.storage.contract import Index
from palestra.gateway.operation import Call, Empty, Message, Operation
from palestra.jobs.contract import Job
from palestra.sdk.bounds import Bounds, GameCodeTooSlow
from palestra.sdk.context import Context, Platform
from palestra.sdk.game import AsyncCode, Function, Game, GameJob, Hook, place_of
from palestra.sdk.jobs import queue_name
from palestra.sdk.match import BoundHandler
from palestra.sdk.traces import trace_of

log = get_logger(__name__)
BROKEN = "The game's code failed; the server's log says how."


class Runtime:
    """Implements `Functions` for the loaded games, and installs their hooks into the operation table."""

    def __init__(self, bounds: Bounds) -> None:
        self.table: list[Operation | Message] = []
        """The operation table; it contains operations that call this runtime, so it is set after both are made."""
        self.bounds = bounds
        self._functions: dict[str, Function] = {}
        self._games: list[Game] = []
        self._platform: Platform | None = None
        self._match_handlers: dict[str, BoundHandler] = {}
        self.failures = 0

    # -- binding

    def check(self, games: Iterable[Game]) -> None:
        """Find mistakes that show before anything runs. Raises SetupError naming the place and the nearest match."""
        known = {entry.name for entry in self.table if entry.hookable}
        seen: dict[str, str] = {}
        names: set[str] = set()
        for game in games:
            if game.name in names:
                raise SetupError(f"two games are named {game.name!r}: records tell them apart by their names")
            names.add(game.name)
            for hook in (*game.before_hooks, *game.after_hooks):
                if hook.operation not in known:
                    near = difflib.get_close_matches(hook.operation, known, 1, 0.4)
                    hint = f"; did you mean {near[0]!r}?" if near else "; `palestra map` lists them"
                    raise SetupError(f"{hook.place}: there is no operation {hook.operation!r}{hint}")
            if game.match_former and (other := next((g for g in games if g.match_former), game)) is not game:
                raise SetupError(f"{place_of(game.match_former)}: the game {other.name!r} forms the matches already")
            for key, function in game.functions.items():
                if key in seen:
                    raise SetupError(f"{function.place}: {function.id!r} is already the id of {seen[key]}")
                seen[key] = function.place
        self._handlers(games)
        self.jobs(games)
        self.indexes(games)

    def bind(self, games: list[Game], platform: Platform) -> None:
        """Make the games' functions and hooks the ones in force, in one step. Raises SetupError and changes nothing."""
        self.check(games)
        self._platform = platform
        self._games = games
        # Matches that run keep the code they began with.
        self._match_handlers = self._handlers(games)
        self._functions = {key: function for game in games for key, function in game.functions.items()}
        for entry in self.table:
            before = [hook for game in games for hook in game.before_hooks if hook.operation == entry.name]
            after = [hook for game in games for hook in game.after_hooks if hook.operation == entry.name]
            entry.before = self._before(before) if before else None
            entry.after = self._after(after) if after else None

    async def start(self) -> None:
        """Run the games' start code. Raises SetupError when one fails."""
        for game in self._games:
            for code in game.start_hooks:
                try:
                    await self.bounds.run(code(self._context(None, game.name)))
                except BaseException as error:
                    if ends_task(error):
                        raise
                    text = f"{game.name}: {place_of(code)} failed at start\n{trace_of(error)}"
                    raise SetupError(text) from error

    def _context(self, call: Call | None, name: str) -> Context:
        assert self._platform is not None, "bind first"
        return Context(self._platform, call, name)

    # -- functions

    async def call(self, function_id: str, payload: str, call: Call) -> str | None:
        """Run a function. Raises FunctionNotFound, FunctionFailed, Unavailable."""
        function = self._functions.get(function_id) or self._functions.get(function_id.lower())
        if function is None:
            raise FunctionNotFound
        context = self._context(call, function.id)
        if function.read is None:
            running = function.code(context)
        else:
            try:
                request = function.read(payload)
            except (msgspec.DecodeError, RecursionError) as error:
                raise FunctionFailed(f"invalid payload: {error}", Code.INVALID_ARGUMENT) from None
            running = function.code(context, request)
        try:
            result = await self.bounds.run(running)
            if result is None or function.write is None:
                return result if result is None else _text(result)
            return function.write(result)
        except BaseException as error:
            told = self._told(function.place, error)
            if isinstance(told, PalestraError) and not isinstance(told, Unavailable):
                raise FunctionFailed(told.message, told.code) from None
            raise told from None

    def _told(self, place: str, error: BaseException) -> BaseException:
        """What the caller of game code is to see instead of `error`; a bug is logged and counted."""
        if isinstance(error, GameCodeTooSlow):
            log.error("game code was cut off", place=place, reason=error.message)
        if isinstance(error, PalestraError) or ends_task(error):
            return error
        self._report(place, error)
        return GameError(BROKEN)

    def _report(self, place: str, error: BaseException) -> None:
        self.failures += 1
        log.error("game code failed", place=place, exc_info=error)

    # -- hooks

    def _before(self, hooks: list[Hook]) -> Callable[[Call, Any], Awaitable[Any]]:
        async def run(call: Call, request: Any) -> Any:
            for hook in hooks:
                changed = await self._guarded(hook, hook.code(self._context(call, hook.operation), request))
                if changed is None:
                    return None
                if not isinstance(changed, type(request)):
                    expected, came = type(request).__name__, type(changed).__name__
                    self._report(hook.place, TypeError(f"a hook returns the request, {expected}, or None; not {came}"))
                    raise GameError(BROKEN)
                request = changed
            return request

        return run

    def _after(self, hooks: list[Hook]) -> Callable[[Call, Any, Any], Awaitable[None]]:
        async def run(call: Call, response: Any, request: Any) -> None:
            # A copy: whatever hooks do to it, the answer stays as it is. A socket's answer is a (key, struct) pair.
            shown = response[1] if isinstance(response, tuple) else response
            response = Empty() if shown is None else copy.deepcopy(shown)
            for hook in hooks:
                try:
                    await self._guarded(hook, hook.code(self._context(call, hook.operation), response, request))
                except PalestraError as error:
                    log.warning("after-hook refused in vain", place=hook.place, error=error.message)

        return run

    async def _guarded(self, hook: Hook, running: Any) -> Any:
        try:
            return await self.bounds.run(running)
        except BaseException as error:
            raise self._told(hook.place, error) from None

    # -- indexes

    def indexes(self, games: Iterable[Game]) -> list[Index]:
        """The games' storage indexes. Raises SetupError when two have one name."""
        found: dict[str, Index] = {}
        for game in games:
            for name, index in game.indexes.items():
                if name in found:
                    raise SetupError(f"{game.name}: there is an index {name!r} of another game already")
                found[name] = index
        return list(found.values())

    # -- jobs

    def jobs(self, games: Iterable[Game]) -> list[Job]:
        """The games' jobs as the queue knows them. Raises SetupError naming the place of one that cannot be."""
        places: dict[str, str] = {}
        jobs = []
        for declared in (job for game in games for job in game.jobs):
            if declared.name in places:
                raise SetupError(f"{declared.place}: {declared.name!r} is already the name of {places[declared.name]}")
            places[declared.name] = declared.place
            jobs.append(self._job(declared))
        return jobs

    def _job(self, job: GameJob) -> Job:
        async def run(*payload: Any) -> None:
            try:
                await self.bounds.run(job.code(self._context(None, job.name), *payload), job.seconds_max)
            except BaseException as error:
                # The worker logs it.
                if not isinstance(error, PalestraError) and not ends_task(error):
                    self.failures += 1
                raise

        try:
            return Job(
                queue_name(job.name),
                run,
                job.payload,
                cron=job.cron,
                attempts_max=job.attempts_max,
                seconds_max=job.seconds_max,
            )
        except SetupError as error:
            raise SetupError(f"{job.place}: {error}") from None

    # -- events

    async def handle_event(self, event: ClientEvent) -> None:
        """Hand an event to the games that want events."""
        for game in self._games:
            for code in game.event_hooks:
                await self._run_event_hook(game, code, event)

    async def handle_session(self, event: SessionEvent) -> None:
        """Hand the start or end of a session to the games that want it."""
        for game in self._games:
            for code in game.session_hooks[event.name]:
                await self._run_event_hook(game, code, event)

    async def _run_event_hook(self, game: Game, code: AsyncCode, event: ClientEvent | SessionEvent) -> None:
        try:
            await self.bounds.run(code(self._context(None, game.name), event))
        except BaseException as error:
            if ends_task(error):
                raise
            self._report(place_of(code), error)

    async def handle_end(self, end: LeaderboardReset | TournamentEnd | TournamentReset) -> None:
        """Hand the end of a period or window to the games. Raises Unavailable or Overloaded: tell them again later."""
        for game in self._games:
            for code in game.end_hooks.get(type(end), ()):
                try:
                    await self.bounds.run(code(self._context(None, game.name), end))
                except BaseException as error:
                    if ends_task(error) or isinstance(error, Unavailable | Overloaded):
                        raise
                    self._report(place_of(code), error)

    # -- matches

    @property
    def match_handlers(self) -> Mapping[str, BoundHandler]:
        """See MatchGames.match_handlers."""
        return self._match_handlers

    def _handlers(self, games: Iterable[Game]) -> dict[str, BoundHandler]:
        handlers: dict[str, BoundHandler] = {}
        for game in games:
            for declared in game.matches.values():
                if declared.name in handlers:
                    other = handlers[declared.name].declared.place
                    raise SetupError(f"{declared.place}: {declared.name!r} is already the name of {other}")
                context = partial(self._context, None, declared.name)
                handlers[declared.name] = BoundHandler(declared, game, self.bounds, context)
        return handlers

    # -- rounds

    def version_of(self, game: str) -> str | None:
        """See RoundGames.version_of."""
        found = self._game_of(game)
        return None if found is None else found.version

    def settles_rounds(self, game: str) -> bool:
        """See RoundGames.settles_rounds."""
        found = self._game_of(game)
        return found is not None and found.round_settler is not None

    async def settle_round(self, round: Round) -> Settlement:
        """See RoundGames.settle_round."""
        game = self._game_of(round.game)
        if game is None or game.round_settler is None:
            raise GameError(f"the game {round.game!r} has no function under @game.settle_round any more")
        place = place_of(game.round_settler)
        try:
            answer = await self.bounds.run(game.round_settler(self._context(None, game.name), round))
            if not isinstance(answer, Settlement):
                raise TypeError(f"settle_round returns a Settlement, not {type(answer).__name__}")
        except BaseException as error:
            raise self._told(place, error) from None
        return answer

    # -- purchases

    async def grants_of(self, purchase: Purchase) -> Mapping[str, int]:
        """See PurchaseGames.grants_of: what all games together give."""
        total: Counter[str] = Counter()
        for game in self._games:
            for code in game.purchase_hooks:
                try:
                    grants = await self.bounds.run(code(self._context(None, game.name), purchase)) or {}
                    if not isinstance(grants, Mapping):
                        raise TypeError(f"on_purchase returns amounts by asset or None, not {type(grants).__name__}")
                    total.update(grants)
                except BaseException as error:
                    raise self._told(place_of(code), error) from None
        return total

    async def handle_refund(self, refund: Refund) -> None:
        """See PurchaseGames.handle_refund."""
        for game in self._games:
            for code in game.refund_hooks:
                await self.bounds.run(code(self._context(None, game.name), refund))

    # -- matchmaker

    @property
    def relaxations(self) -> list[Relaxation]:
        """See MatchmakerGames.relaxations."""
        return [one for game in self._games for one in game.relaxations]

    @property
    def handles_formed(self) -> bool:
        """See MatchmakerGames.handles_formed."""
        return any(game.matched_hooks for game in self._games)

    @property
    def forms_every_seconds(self) -> float | None:
        """See MatchmakerGames.forms_every_seconds."""
        return next((game.match_former_seconds for game in self._games if game.match_former), None)

    async def formed(self, match: Formed) -> str | None:
        """See MatchmakerGames.formed: the first game that names a match has its way."""
        for game in self._games:
            for code in game.matched_hooks:
                try:
                    match_id = await self.bounds.run(code(self._context(None, game.name), match))
                    if not isinstance(match_id, str | None):
                        raise TypeError(f"matched returns a match's id or None, not {type(match_id).__name__}")
                    if match_id:
                        return match_id
                except BaseException as error:
                    if ends_task(error):
                        raise
                    self._report(place_of(code), error)
        return None

    async def form(self, waiting: list[TicketInfo]) -> list[list[TicketInfo]]:
        """See MatchmakerGames.form."""
        for game in self._games:
            if (code := game.match_former) is not None:
                try:
                    groups = await self.bounds.run(code(self._context(None, game.name), waiting))
                    return msgspec.convert(groups, list[list[TicketInfo]])
                except BaseException as error:
                    if ends_task(error):
                        raise
                    self._report(place_of(code), error)
        return []

    def _game_of(self, name: str) -> Game | None:
        return next((game for game in self._games if game.name == name), None)

    @property
    def wants_events(self) -> bool:
        """Whether any game handles events."""
        return any(game.event_hooks for game in self._games)

    @property
    def wants_sessions(self) -> bool:
        """Whether any game handles starts and ends of sessions."""
        return any(hooks for game in self._games for hooks in game.session_hooks.values())


def _text(result: Any) -> str:
    if not isinstance(result, str):
        raise TypeError(f"the function promised text or nothing and returned {type(result).__name__}")
    return result
