"""Pure decisions about rounds: what may be opened, staked and paid, the ledger's steps, what counts as the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, cast, get_args
from uuid import UUID

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.ledger.contract import AMOUNT_MAX, Hold, Line, LineKind, Measure, Post, Step, Transfer, Void
from palestra.features.rounds.contract import (
    DEADLINE_SECONDS_MAX,
    GRACE_SECONDS,
    JSON_BYTES_MAX,
    KEY_CHARS_MAX,
    PLAYERS_MAX,
    REASON_CHARS_MAX,
    BadPage,
    BadRound,
    Ending,
    Policy,
    Round,
    Stake,
)

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.decode


class Stored(msgspec.Struct, frozen=True):
    """A round as its rows tell it. `later` are the stakes after the opening as (stake id, player id, amount)."""

    round: Round
    later: tuple[tuple[str, str, int], ...] = ()

    @property
    def opening(self) -> tuple[Stake, ...]:
        """The stakes with which it was opened."""
        return self.round.stakes[: len(self.round.stakes) - len(self.later)]


# -- names


def keyed_id(name: str, key: str | None, fresh: str) -> str:
    """The id that a key stands for within a name, `fresh` without a key. Raises BadRound."""
    if key is None:
        return fresh
    if not isinstance(key, str) or not 1 <= len(key) <= KEY_CHARS_MAX:
        raise BadRound(f"A key has 1 to {KEY_CHARS_MAX} characters.")
    digest = sha256(f"{name}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return str(UUID(bytes=digest[:16], version=5))


def opening_key(round_id: str) -> str:
    """The ledger's key of a round's opening."""
    return f"round:{round_id}:open"


def stake_key(round_id: str, stake_id: str) -> str:
    """The ledger's key of later stakes."""
    return f"round:{round_id}:stake:{stake_id}"


def stake_keys(stored: Stored) -> list[str]:
    """The ledger's keys of all that was held for a round, in the order of its stakes."""
    opening = [opening_key(stored.round.id)] if staked(stored.opening) else []
    return opening + [
        stake_key(stored.round.id, stake_id) for stake_id in dict.fromkeys(one[0] for one in stored.later)
    ]


def ending_key(round_id: str) -> str:
    """The ledger's key of a round's end, whichever it is: a round ends once."""
    return f"round:{round_id}:end"


def release_key(round_id: str, hold: int) -> str:
    """The ledger's key of one hold that is given back by itself, because another one of its round was over already."""
    return f"round:{round_id}:release:{hold}"


# -- what callers give


def stakes_of(stakes: Mapping[str, int], least: int) -> tuple[Stake, ...]:
    """Stakes in the order of player ids. Raises BadRound."""
    amounts = _amounts(stakes, "stake", least)
    if not 1 <= len(amounts) <= PLAYERS_MAX:
        raise BadRound(f"A round has 1 to {PLAYERS_MAX} players.")
    return tuple(Stake(player_id, amount) for player_id, amount in amounts.items())


def payouts_of(payouts: Mapping[str, int] | None) -> dict[str, int]:
    """Payouts in the order of player ids. Raises BadRound."""
    return _amounts(payouts or {}, "payout", 0)


def _amounts(given: Mapping[str, int], what: str, least: int) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for player, amount in given.items():
        try:
            player_id = parse_id(player)
        except (ValueError, TypeError):
            raise BadRound(f"A {what} is given by the player's id, not {player!r:.100}.") from None
        if type(amount) is not int or not least <= amount <= AMOUNT_MAX:
            raise BadRound(f"A {what} is a whole number of minor units from {least}, not {amount!r:.100}.")
        if player_id in amounts:
            raise BadRound(f"The player {player_id} is named twice.")
        amounts[player_id] = amount
    return dict(sorted(amounts.items()))


def policy_of(policy: str) -> Policy:
    """A policy by its name. Raises BadRound."""
    if policy not in get_args(Policy):
        raise BadRound(f"A policy is one of {', '.join(get_args(Policy))}, not {policy!r:.100}.")
    return cast(Policy, policy)


def deadline_of(now: datetime, seconds: int) -> datetime:
    """When a round is left to its policy. Raises BadRound."""
    if type(seconds) is not int or not 1 <= seconds <= DEADLINE_SECONDS_MAX:
        raise BadRound(f"A deadline is 1 to {DEADLINE_SECONDS_MAX} whole seconds away.")
    return now + timedelta(seconds=seconds)


def json_object(given: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """A JSON object as it will be read again. Raises BadRound when it cannot be one or is too long."""
    if not given:
        return {}
    try:
        text = _encode(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRound(f"The {what} cannot be written as JSON: {error}"[:200]) from None
    if text[:1] != b"{":
        raise BadRound(f"The {what} must be a mapping.")
    if len(text) > JSON_BYTES_MAX:
        raise BadRound(f"The {what} may take {JSON_BYTES_MAX} bytes as JSON.")
    return _decode(text)


def json_text(value: Mapping[str, Any]) -> str:
    """The JSON text of an object; equal objects have equal texts."""
    return _encode(value).decode()


def reason_of(reason: str) -> str:
    """Why a round was cancelled, as it can be stored."""
    return reason.encode("utf-8", "replace").decode().replace("\0", "")[:REASON_CHARS_MAX]


def check_payouts(round: Round, payouts: Mapping[str, int]) -> None:
    """Raises BadRound for a payout to somebody who does not take part."""
    strangers = payouts.keys() - set(round.players)
    if strangers:
        raise BadRound(f"{min(strangers)} takes no part in the round, so nothing can be paid out to them.")


# -- the ledger's steps


def staked(stakes: Iterable[Stake]) -> tuple[Stake, ...]:
    """The stakes for which something is held."""
    return tuple(stake for stake in stakes if stake.amount)


def hold_steps(
    round_id: str, stakes: Iterable[Stake], deadline: datetime, accounts: Mapping[str, int], house: int
) -> tuple[Step, ...]:
    """Holds for stakes, until after the deadline. All holds of a round expire at the same second."""
    expires_at = int(deadline.timestamp()) + GRACE_SECONDS
    return tuple(
        Hold(accounts[one.player_id], house, one.amount, "round.stake", expires_at, round_id, measure=Measure.STAKE)
        for one in staked(stakes)
    )


def holds_of(stakes: Iterable[Stake], lines: Sequence[Line]) -> tuple[int, ...]:
    """The holds of stakes, from the lines of the entry that made them."""
    made = iter([line.id for line in lines if line.step is LineKind.HOLD])
    return tuple(next(made) if stake.amount else 0 for stake in stakes)


def settle_steps(round: Round, payouts: Mapping[str, int], accounts: Mapping[str, int], house: int) -> tuple[Step, ...]:
    """All that was held goes to the house, then the house pays."""
    return (
        *(Post(hold, kind="round.settle", reference=round.id) for hold in round.holds or () if hold),
        *(
            Transfer(house, accounts[player_id], amount, "round.payout", round.id, measure=Measure.PAYOUT)
            for player_id, amount in payouts.items()
            if amount
        ),
    )


def cancel_steps(round: Round) -> tuple[Void, ...]:
    """All that was held is given back."""
    return tuple(Void(hold, "round.void", round.id) for hold in round.holds or () if hold)


def ended_without_entry(round: Round, lines: Iterable[Line]) -> bool:
    """Whether a round ended though its holds could not all be ended by one entry."""
    return round.ending is not None and all(line.step is LineKind.HOLD for line in lines)


# -- what counts as the same


def same_opening(stored: Stored, asked: Round) -> bool:
    """Whether a request to open a round is the one that opened this one."""

    def content(round: Round, stakes: tuple[Stake, ...]) -> tuple[Any, ...]:
        seconds = (round.deadline - round.opened_at).total_seconds()
        return round.game, round.asset, round.inputs, round.policy, seconds, stakes

    return content(stored.round, stored.opening) == content(asked, asked.stakes)


def same_ending(ending: Ending, asked: Ending) -> bool:
    """Whether a round ended as asked for. Why it was cancelled does not matter."""
    return (ending.how, ending.payouts, ending.result, ending.fair) == (
        asked.how,
        asked.payouts,
        asked.result,
        asked.fair,
    )


# -- pages


class Position(msgspec.Struct, array_like=True, frozen=True):
    """A round in an order by time and id."""

    at: datetime
    id: str


FIRST = Position(datetime(1970, 1, 1, tzinfo=UTC), SYSTEM_USER)
LAST = Position(datetime(9999, 1, 1, tzinfo=UTC), SYSTEM_USER)


def position_of(cursor: str) -> Position:
    """Where a page starts; it leads through the caller's own rounds only. Raises BadPage."""
    if not cursor:
        return LAST
    try:
        found = open_cursor(cursor, Position)
        return Position(found.at.astimezone(UTC), parse_id(found.id))
    except (ValueError, OverflowError):
        raise BadPage("Malformed cursor was used.") from None


def cursor_of(round: Round) -> str:
    """The cursor that leads on behind a round."""
    return seal_cursor(Position(round.opened_at, round.id))
