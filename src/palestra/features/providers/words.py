"""The stable word by which providers' programs know each refusal."""

from __future__ import annotations

from palestra.core.errors import (
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PalestraError,
    Unavailable,
)
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import (
    AccountClosed,
    AmountOverflow,
    InsufficientFunds,
    LimitReached,
    UnknownAsset,
)
from palestra.features.providers import contract

WORDS: dict[type[PalestraError], str] = {
    contract.WrongSignature: "wrong_signature",
    contract.StaleTimestamp: "stale_timestamp",
    contract.ForbiddenAddress: "forbidden_address",
    contract.ProviderDisabled: "provider_disabled",
    contract.BadAmount: "bad_amount",
    contract.AssetNotOffered: "unknown_asset",
    UnknownAsset: "unknown_asset",
    contract.SessionEnded: "session_ended",
    contract.LaunchUsed: "launch_used",
    contract.UnknownPlayer: "unknown_player",
    AccountNotFound: "unknown_player",
    contract.WrongOwner: "wrong_owner",
    contract.TransactionConflict: "transaction_conflict",
    contract.RolledBack: "rolled_back",
    contract.NotADebit: "not_a_debit",
    InsufficientFunds: "insufficient_funds",
    LimitReached: "limit_reached",
    AccountClosed: "account_closed",
    AmountOverflow: "amount_overflow",
    InvalidArgument: "bad_request",
    NotFound: "not_found",
    Overloaded: "overloaded",
    Unavailable: "unavailable",
    OutcomeUnknown: "unknown_retry",
    contract.UnknownRetry: "unknown_retry",
    PalestraError: "internal",
}


def word_of(error: PalestraError) -> str:
    """The word of the closest kind that has one."""
    return next(WORDS[kind] for kind in type(error).__mro__ if kind in WORDS)
