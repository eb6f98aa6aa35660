"""What can be done with rounds; implements the contract's `Rounds`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from palestra.core.clock import Clock, utc
from palestra.core.errors import Overloaded, PalestraError, Unavailable
from palestra.core.ids import new_id, parse_id
from palestra.core.log import get_logger
from palestra.features.ledger.contract import (
    Entry,
    HoldNotOpen,
    InsufficientFunds,
    KeyConflict,
    Ledger,
    Line,
    Owner,
    OwnerKind,
    Step,
)
from palestra.features.rounds import rules
from palestra.features.rounds.contract import (
    PAGE_ROUNDS_MAX,
    PLAYERS_MAX,
    BadPage,
    BadRound,
    Ending,
    Policy,
    Record,
    Round,
    RoundChanged,
    RoundConflict,
    RoundGames,
    RoundNotFound,
    RoundOver,
    RoundPage,
    Stake,
)
from palestra.features.rounds.rules import Stored
from palestra.features.rounds.store import Ended, NewStakes, RoundStore

HOUSE = "house"
"""The system account that takes stakes and pays payouts; it may go below zero."""
ATTEMPTS_MAX = 8
"""How often a step is tried again because others staked in the same moment."""
SWEEP_ROUNDS_MAX = 100
"""How many overdue rounds are ended at once."""

log = get_logger(__name__)


class RoundService:
    """Rounds for game code, for players who look at theirs, and for the clock."""

    def __init__(self, store: RoundStore, ledger: Ledger, games: RoundGames, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._games = games
        self._clock = clock

    # -- opening and staking

    async def open(
        self,
        *,
        game: str,
        stakes: Mapping[str, int],
        asset: str = "coins",
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
        deadline_seconds: int = 300,
        policy: Policy = "cancel",
    ) -> Round:
        """See Rounds.open."""
        opened_at = utc(self._clock.now())
        asked = Round(
            rules.keyed_id(game, key, new_id()),
            game,
            self._version_of(game),
            asset,
            rules.json_object(inputs, "inputs"),
            rules.stakes_of(stakes, least=0),
            rules.policy_of(policy),
            opened_at,
            rules.deadline_of(opened_at, deadline_seconds),
        )
        if asked.policy == "settle" and not self._games.settles_rounds(game):
            raise BadRound(f"The game {game!r} needs a function under @game.settle_round for rounds of this policy.")
        try:
            lines = await self._opened(asked)
        except InsufficientFunds:
            # The ledger knows nothing of a round that was opened under this key without stakes.
            if key is None or await self._store.read(asked.id) is None:
                raise
            lines = None
        if lines is not None:
            return msgspec.structs.replace(asked, holds=rules.holds_of(asked.stakes, lines))
        stored = await self._stored(asked.id)
        if not rules.same_opening(stored, asked):
            raise RoundConflict("The key was used for another round.")
        return await self._with_holds(stored)

    async def _opened(self, asked: Round) -> tuple[Line, ...] | None:
        """What the ledger wrote for a new round; None if there is a round of its id."""
        house, accounts = await self._accounts(asked.asset, asked.players)
        steps = rules.hold_steps(asked.id, asked.stakes, asked.deadline, accounts, house)
        try:
            if not steps:
                await self._store.open_alone(asked)
                return ()
            entry = Entry(rules.opening_key(asked.id), steps, ((self._store.openings, asked),))
            receipt = await self._ledger.submit(entry)
        except (KeyConflict, RoundChanged):
            return None
        return None if receipt.repeated else receipt.lines

    async def stake(self, round: Round | str, stakes: Mapping[str, int], *, key: str | None = None) -> Round:
        """See Rounds.stake."""
        added = rules.stakes_of(stakes, least=1)
        known = round if isinstance(round, Round) else await self.get(round)
        stake_id = rules.keyed_id(known.id, key, new_id())
        house, accounts = await self._accounts(known.asset, [stake.player_id for stake in added])
        steps = rules.hold_steps(known.id, added, known.deadline, accounts, house)
        for _ in range(ATTEMPTS_MAX):
            self._check_room(known, added)
            beside = ((self._store.stakes, NewStakes(known, stake_id, added)),)
            try:
                await self._ledger.submit(Entry(rules.stake_key(known.id, stake_id), steps, beside))
            except KeyConflict:
                raise RoundConflict("The key was used for another stake of this round.") from None
            except RoundChanged:
                known = await self.get(known.id)
            else:
                return await self.get(known.id)
        raise RoundChanged

    def _check_room(self, round: Round, added: tuple[Stake, ...]) -> None:
        if round.ending is not None:
            raise _over(round)
        if self._clock.now() >= round.deadline.timestamp():
            raise RoundOver("The round's deadline is over: it takes no more stakes.", round)
        if len(round.stakes) + len(added) > PLAYERS_MAX:
            raise BadRound(f"A round takes at most {PLAYERS_MAX} stakes.")

    # -- ending

    async def settle(
        self,
        round: Round | str,
        *,
        payouts: Mapping[str, int] | None = None,
        result: Mapping[str, Any] | None = None,
        fair: Mapping[str, Any] | None = None,
    ) -> Round:
        """See Rounds.settle."""
        asked = Ending(
            "settled",
            "",
            utc(self._clock.now()),
            payouts=rules.payouts_of(payouts),
            result=rules.json_object(result, "result"),
            fair=rules.json_object(fair, "fair fields"),
        )
        return await self._end(round, asked)

    async def cancel(self, round: Round | str, reason: str = "") -> Round:
        """See Rounds.cancel."""
        return await self._end(round, Ending("cancelled", "", utc(self._clock.now()), rules.reason_of(reason)))

    async def _end(self, round: Round | str, asked: Ending) -> Round:
        """End a round as asked; the first end that was committed stands, whoever asked for it."""
        if isinstance(round, Round) and round.holds is not None:
            known, fresh = round, False
        else:
            known, fresh = await self.get(round if isinstance(round, str) else round.id), True
        ending = asked
        for _ in range(ATTEMPTS_MAX):
            if known.ending is not None:
                return _as_asked(known, asked)
            signed = msgspec.structs.replace(ending, version=self._games.version_of(known.game) or "")
            try:
                if await self._finish(Ended(known, signed), held=ending is asked):
                    return _as_asked(msgspec.structs.replace(known, ending=signed), asked)
            except (KeyConflict, RoundChanged):
                pass
            except BadRound:
                if fresh:
                    raise
            except HoldNotOpen:
                if fresh:
                    # It can never be settled any more: a hold that is over stays so.
                    ending = Ending("cancelled", "", asked.ended_at, "a hold of it was over already")
            known, fresh = await self.get(known.id), True
        raise RoundChanged

    async def _finish(self, row: Ended, *, held: bool) -> bool:
        """Write one end; whether this call did it. With `held` off some hold is over, and the others are given back."""
        if not held:
            # First, since a crash in between leaves a round that is open: the sweep comes back to it.
            await self._release(row.round)
        steps = await self._ending_steps(row.round, row.ending) if held else ()
        if not steps:
            await self._store.end_alone(row)
            return True
        entry = Entry(rules.ending_key(row.round.id), steps, ((self._store.endings, row),))
        return not (await self._ledger.submit(entry)).repeated

    async def _release(self, round: Round) -> None:
        """Give back what is still held, each hold by itself."""
        entries = [Entry(rules.release_key(round.id, step.hold), (step,)) for step in rules.cancel_steps(round)]
        for outcome in await asyncio.gather(*map(self._ledger.submit, entries), return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, HoldNotOpen):
                raise outcome

    async def _ending_steps(self, round: Round, ending: Ending) -> tuple[Step, ...]:
        if ending.how == "cancelled":
            return rules.cancel_steps(round)
        rules.check_payouts(round, ending.payouts)
        paid = [player_id for player_id, amount in ending.payouts.items() if amount]
        house, accounts = await self._accounts(round.asset, paid)
        return rules.settle_steps(round, ending.payouts, accounts, house)

    # -- reading

    async def get(self, round_id: str) -> Round:
        """See Rounds.get."""
        return await self._with_holds(await self._stored(round_id))

    async def record(self, round_id: str) -> Record:
        """See Rounds.record."""
        stored = await self._stored(round_id)
        lines = await self._found([*rules.stake_keys(stored), rules.ending_key(stored.round.id)])
        round = _held(stored, lines)
        if rules.ended_without_entry(round, lines):
            lines += await self._found([rules.release_key(round.id, step.hold) for step in rules.cancel_steps(round)])
        return Record(round, lines)

    async def list(self, player_id: str, limit: int = PAGE_ROUNDS_MAX, cursor: str = "") -> RoundPage:
        """See Rounds.list."""
        if not 1 <= limit <= PAGE_ROUNDS_MAX:
            raise BadPage(f"Invalid limit - limit must be between 1 and {PAGE_ROUNDS_MAX}.")
        try:
            player_id = parse_id(player_id)
        except ValueError:
            return RoundPage((), "")
        # One more than asked for tells whether there is a next page.
        found = await self._store.list_of(player_id, rules.position_of(cursor), limit + 1)
        more = len(found) > limit
        return RoundPage(tuple(found[:limit]), rules.cursor_of(found[limit - 1]) if more else "")

    async def _stored(self, round_id: str) -> Stored:
        try:
            stored = await self._store.read(parse_id(round_id))
        except ValueError:
            raise RoundNotFound from None
        if stored is None:
            raise RoundNotFound
        return stored

    async def _with_holds(self, stored: Stored) -> Round:
        return _held(stored, await self._found(rules.stake_keys(stored)))

    async def _found(self, keys: Sequence[str]) -> tuple[Line, ...]:
        """What the ledger wrote under some keys, in their order."""
        receipts = await asyncio.gather(*[self._ledger.find(key) for key in keys])
        return tuple(line for receipt in receipts if receipt is not None for line in receipt.lines)

    # -- the deadline

    async def resolve_overdue(self, limit: int = PAGE_ROUNDS_MAX) -> int:
        """See Rounds.resolve_overdue."""
        now = utc(self._clock.now())
        position = rules.FIRST
        resolved = 0
        while resolved < limit:
            found = await self._store.overdue(now, position, min(limit - resolved, SWEEP_ROUNDS_MAX))
            if not found:
                break
            # One that cannot be ended just now does not keep those behind it from being looked at.
            position = found[-1]
            resolved += sum(await asyncio.gather(*[self._resolve(one.id) for one in found]))
        return resolved

    async def _resolve(self, round_id: str) -> bool:
        try:
            round = await self.get(round_id)
            if round.ending is None:
                await self._end_by_policy(round)
        except RoundOver:
            pass
        except Exception as error:
            log.error("an overdue round is still open", round=round_id, reason=repr(error))
            return False
        return True

    async def _end_by_policy(self, round: Round) -> None:
        reason = "nobody ended it before its deadline"
        if round.policy == "settle":
            try:
                answer = await self._games.settle_round(round)
                await self.settle(round, payouts=answer.payouts, result=answer.result, fair=answer.fair)
                return
            except (RoundOver, Unavailable, Overloaded):
                raise
            except PalestraError as error:
                log.warning("a round is cancelled instead of settled", round=round.id, reason=error.message)
                reason = f"{reason}, and it could not be settled: {error.message}"
        await self.cancel(round, reason)

    # -- accounts

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> None:
        """Delete a player's list of rounds in the transaction that deletes the account; the records stay."""
        await self._store.forget(tx, player_id)

    async def _accounts(self, asset: str, player_ids: Iterable[str]) -> tuple[int, dict[str, int]]:
        """The house's account and those of players, each opened at its first use. Costs nothing once they are known."""
        players = list(player_ids)
        house = await self._ledger.open(Owner(OwnerKind.SYSTEM, HOUSE, asset), may_go_negative=True, hot=True)
        opening = [self._ledger.open(Owner(OwnerKind.PLAYER, player_id, asset)) for player_id in players]
        # Most rounds have one player, whose account is known: no task is needed for that.
        accounts = [await opening[0]] if len(opening) == 1 else await asyncio.gather(*opening)
        return house.id, {player: account.id for player, account in zip(players, accounts, strict=True)}

    def _version_of(self, game: str) -> str:
        version = self._games.version_of(game)
        if version is None:
            raise BadRound(f"There is no game {game!r:.100} here; it is the name given to Game(...).")
        return version


def _held(stored: Stored, lines: Sequence[Line]) -> Round:
    return msgspec.structs.replace(stored.round, holds=rules.holds_of(stored.round.stakes, lines))


def _as_asked(round: Round, asked: Ending) -> Round:
    if round.ending is None or not rules.same_ending(round.ending, asked):
        raise _over(round)
    return round


def _over(round: Round) -> RoundOver:
    if round.ending is None:
        raise RuntimeError(f"the round {round.id} is open")
    return RoundOver(f"The round was {round.ending.how} at {round.ending.ended_at:%Y-%m-%d %H:%M:%S} UTC.", round)
