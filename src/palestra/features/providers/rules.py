"""Pure decisions about providers' requests: amounts, sessions, what repeats what, what may be undone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import msgspec

from palestra.core.ids import parse_id
from palestra.features.ledger.contract import AMOUNT_MAX, Line, Receipt, Transfer
from palestra.features.providers.contract import (
    BadAmount,
    BadWindow,
    NotADebit,
    SessionEnded,
    UnknownPlayer,
    WrongOwner,
)
from palestra.features.providers.tokens import PlayClaims
from palestra.features.providers.wire import Kind

DEBIT, CREDIT, ROLLBACK = "provider.debit", "provider.credit", "provider.rollback"
KINDS: dict[str, Kind] = {DEBIT: "debit", CREDIT: "credit", ROLLBACK: "rollback"}
WINDOW_SECONDS_MAX = 86_400

_AMOUNT = re.compile(rb'"?([1-9][0-9]{0,18})"?').fullmatch
_CURSOR = re.compile(r"[0-9]{1,19}").fullmatch


class Cause(msgspec.Struct):
    """What a line of the ledger remembers as metadata of the request that caused it."""

    transaction_id: str
    request_id: str


read_cause = msgspec.json.Decoder(Cause).decode


def transaction_key(provider: str, transaction_id: str) -> str:
    """Under which the ledger carries a debit or credit out once for ever. A provider's name holds no colon."""
    return f"provider:{provider}:{transaction_id}"


def late_credit_key(provider: str, transaction_id: str) -> str:
    """Under which it carries a credit out if a rollback has forbidden the debit of its id."""
    return f"provider-credit:{provider}:{transaction_id}"


def rollback_key(provider: str, transaction_id: str) -> str:
    """Under which it undoes a debit once for ever."""
    return f"provider-rollback:{provider}:{transaction_id}"


def cause(transaction_id: str, request_id: str) -> str:
    """The metadata of a transfer."""
    return msgspec.json.encode(Cause(transaction_id, request_id)).decode()


def amount_of(raw: msgspec.Raw) -> int:
    """Minor units as they were written. Raises BadAmount."""
    text = bytes(raw)
    match = _AMOUNT(text)
    if match is None or text.startswith(b'"') != text.endswith(b'"'):
        raise BadAmount
    amount = int(match[1])
    if amount > AMOUNT_MAX:
        raise BadAmount
    return amount


def player_of(text: str) -> str:
    """A player's id in its canonical form. Raises UnknownPlayer."""
    try:
        return parse_id(text)
    except ValueError:
        raise UnknownPlayer from None


def check_session(claims: PlayClaims | None, provider: str, player_id: str, asset: str, now: float) -> PlayClaims:
    """A session in which this player may stake this asset at this provider. Raises SessionEnded, WrongOwner."""
    if claims is None or claims.prv != provider or claims.exp <= now:
        raise SessionEnded
    if claims.uid != player_id:
        raise WrongOwner("The session is not this player's.")
    if claims.ast not in ("", asset):
        raise WrongOwner(f"The game was launched for {claims.ast}, and the session is good for nothing else.")
    return claims


def repeats(receipt: Receipt, transfer: Transfer) -> bool:
    """Whether an earlier entry is the same transaction, asked for by another request."""
    if len(receipt.lines) != 1:
        return False
    line = receipt.lines[0]
    return (line.debit, line.credit, line.amount, line.kind, line.reference) == (
        transfer.debit,
        transfer.credit,
        transfer.amount,
        transfer.kind,
        transfer.reference,
    )


def is_of(line: Line, kind: str, round_id: str, amount: int | None) -> bool:
    """Whether a line has this kind and round, and this amount if one is named."""
    return (line.kind, line.reference) == (kind, round_id) and amount in (None, line.amount)


def check_undoing(line: Line, round_id: str, account_ids: set[int]) -> None:
    """Refuse to undo what is no debit of this round from one of these accounts. Raises NotADebit, WrongOwner."""
    if not {line.debit, line.credit} & account_ids:
        raise WrongOwner("The transaction is not of this player and asset.")
    if line.kind != DEBIT:
        raise NotADebit
    if line.reference != round_id:
        raise WrongOwner("The transaction is not of this round.")


def line_ids(since: float, until: float, cursor: str) -> tuple[int, int]:
    """The ids of lines from a unix second, or from behind a cursor, to before another second. Raises BadWindow."""
    if not 0 < until - since <= WINDOW_SECONDS_MAX:
        raise BadWindow(f"`until` is after `since`, and at most {WINDOW_SECONDS_MAX} s later.")
    first, end = Line.id_at(since), Line.id_at(until)
    if cursor:
        if not _CURSOR(cursor) or not first <= int(cursor) < end:
            raise BadWindow("The cursor was not given out for this list.")
        first = int(cursor) + 1
    return first, end


def day_bounds(day: date) -> tuple[float, float]:
    """The unix seconds at which a UTC day begins and ends."""
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return begins.timestamp(), (begins + timedelta(days=1)).timestamp()
