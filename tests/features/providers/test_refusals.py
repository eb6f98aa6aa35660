"""What is remembered of refused requests, how long, and how many."""

from __future__ import annotations

import pytest

from palestra.core.clock import ManualClock
from palestra.core.provider_settings import ProviderSettings
from palestra.features.ledger.contract import InsufficientFunds
from palestra.features.providers.contract import UnknownPlayer
from palestra.features.providers.refusals import Refusals

SETTINGS = ProviderSettings(keys={"k": "s" * 32}, allow_ips=("127.0.0.1",), assets=("EUR",), window_seconds=60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def refusals(clock: ManualClock) -> Refusals:
    return Refusals({"acme": SETTINGS, "other": SETTINGS}, clock)


def is_refused(refusals: Refusals, signature: bytes, provider: str = "acme") -> bool:
    try:
        refusals.check(provider, signature)
    except (InsufficientFunds, UnknownPlayer):
        return True
    return False


def test_a_refusal_is_told_again_in_the_same_words(refusals: Refusals, clock: ManualClock) -> None:
    refusals.remember("acme", b"one", int(clock.now()), InsufficientFunds("Too little."))
    refusals.remember("acme", b"two", int(clock.now()), UnknownPlayer())
    with pytest.raises(InsufficientFunds) as told:
        refusals.check("acme", b"one")
    assert (told.value.message, told.value.code) == ("Too little.", InsufficientFunds.code)
    with pytest.raises(UnknownPlayer) as other:
        refusals.check("acme", b"two")
    assert other.value.message == UnknownPlayer().message
    assert not is_refused(refusals, b"three") and not is_refused(refusals, b"one", "other")


def test_the_oldest_is_dropped_when_there_are_too_many(
    refusals: Refusals, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palestra.features.providers.refusals.REFUSALS_MAX", 2)
    for signature in (b"one", b"two", b"three"):
        refusals.remember("acme", signature, int(clock.now()), UnknownPlayer())
    refusals.remember("other", b"one", int(clock.now()), UnknownPlayer())
    assert [is_refused(refusals, signature) for signature in (b"one", b"two", b"three")] == [False, True, True]


def test_what_has_left_the_window_is_forgotten(refusals: Refusals, clock: ManualClock) -> None:
    refusals.remember("acme", b"one", int(clock.now()), UnknownPlayer())
    clock.advance(60)
    refusals.remember("acme", b"two", int(clock.now()), UnknownPlayer())
    # To the last second of its window it could be sent again.
    assert is_refused(refusals, b"one")
    clock.advance(1)
    refusals.remember("acme", b"three", int(clock.now()), UnknownPlayer())
    assert [is_refused(refusals, signature) for signature in (b"one", b"two", b"three")] == [False, True, True]
