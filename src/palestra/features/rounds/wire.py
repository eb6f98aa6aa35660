"""The JSON shapes of rounds. Amounts and numbers of the ledger are 64-bit, hence texts; objects are JSON texts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from palestra.features.ledger.contract import Line
from palestra.features.rounds import contract
from palestra.features.rounds.rules import json_text
from palestra.gateway.fields import Int32, Int64Text, JsonText


class ListRequest(msgspec.Struct):
    """Which of the caller's rounds; `limit` left out is 100."""

    limit: Int32 | None = None
    cursor: str = ""


class GetRequest(msgspec.Struct):
    """Which round."""

    id: str = ""


class Amount(msgspec.Struct):
    """What a player staked or was paid."""

    player_id: str
    amount: Int64Text


class Posting(msgspec.Struct, omit_defaults=True):
    """One line of the ledger."""

    id: str
    entry_id: str
    step: str
    kind: str
    debit: str
    credit: str
    amount: Int64Text
    hold_id: str = ""
    create_time: datetime | None = None


class Round(msgspec.Struct, omit_defaults=True):
    """A round; what follows `deadline` is there once it has ended, and `postings` where one round was asked for."""

    id: str
    game: str
    version: str
    asset: str
    inputs: JsonText
    stakes: list[Amount]
    policy: str
    open_time: datetime
    deadline: datetime
    outcome: str = ""
    reason: str = ""
    end_version: str = ""
    end_time: datetime | None = None
    payouts: list[Amount] = []
    result: JsonText = ""
    fair: JsonText = ""
    postings: list[Posting] = []


class RoundList(msgspec.Struct, omit_defaults=True):
    """A page of rounds."""

    rounds: list[Round] = []
    cursor: str = ""


def round_of(round: contract.Round, lines: Iterable[Line] = ()) -> Round:
    """The wire form of a round."""
    view = Round(
        round.id,
        round.game,
        round.version,
        round.asset,
        json_text(round.inputs),
        [Amount(stake.player_id, str(stake.amount)) for stake in round.stakes],
        round.policy,
        round.opened_at,
        round.deadline,
        postings=[_posting_of(line) for line in lines],
    )
    ending = round.ending
    if ending is not None:
        view.outcome = ending.how
        view.reason = ending.reason
        view.end_version = ending.version
        view.end_time = ending.ended_at
        view.payouts = [Amount(player_id, str(amount)) for player_id, amount in ending.payouts.items()]
        view.result = json_text(ending.result)
        view.fair = json_text(ending.fair)
    return view


def _posting_of(line: Line) -> Posting:
    return Posting(
        str(line.id),
        str(line.entry),
        line.step.name.lower(),
        line.kind,
        str(line.debit),
        str(line.credit),
        str(line.amount),
        "" if line.hold is None else str(line.hold),
        line.at,
    )
