"""Signatures: who may call, when, from where; and what a stranger learns."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.errors import PalestraError
from palestra.core.provider_settings import ProviderSettings
from palestra.features.providers.contract import ForbiddenAddress, StaleTimestamp, WrongSignature
from palestra.features.providers.signatures import Signatures, signature, signed_as
from palestra.gateway.operation import Auth, Operation

OLD, NEW, OTHERS = "o" * 32, "n" * 32, "x" * 32
PATH = "/v2/palestra/provider/debit"
BODY = b'{"amount":"5"}'


async def nothing(call: Any, request: Any) -> None:
    """Never called."""


OPERATION = Operation("providers.debit", "POST", PATH, Auth.SIGNATURE, nothing)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signatures(clock: ManualClock) -> Signatures:
    networks = ("10.1.0.0/16", "2001:db8::/32", "192.0.2.7")
    acme = ProviderSettings(keys={"old": OLD, "new": NEW}, allow_ips=networks, assets=("EUR",))
    other = ProviderSettings(keys={"old": OTHERS}, allow_ips=("10.1.0.0/16",), assets=("EUR",), window_seconds=10)
    return Signatures({"acme": acme, "other": other}, clock)


def signed(clock: ManualClock, secret: str = OLD, *, after: float = 0, **changed: str) -> list[tuple[bytes, bytes]]:
    """The headers of a request, rightly signed but for what is changed after that."""
    seconds = str(int(clock.now() + after))
    made = signature(secret.encode(), seconds.encode(), "POST", PATH, BODY).decode()
    values = {"provider": "acme", "key": "old", "timestamp": seconds, "signature": made, **changed}
    return [(f"x-palestra-{name}".encode(), value.encode()) for name, value in values.items()]


def test_either_of_two_keys_opens(signatures: Signatures, clock: ManualClock) -> None:
    assert signatures.verify(OPERATION, signed(clock), BODY, "10.1.2.3") == "acme"
    assert signatures.verify(OPERATION, signed(clock, NEW, key="new"), BODY, "10.1.2.3") == "acme"
    assert signatures.verify(OPERATION, signed(clock, OTHERS, provider="other"), BODY, "10.1.2.3") == "other"


def test_hex_of_either_case_is_one_signature(signatures: Signatures, clock: ManualClock) -> None:
    lower = signed(clock)
    upper = [(name, value.upper() if name == b"x-palestra-signature" else value) for name, value in lower]
    assert upper != lower and signatures.verify(OPERATION, upper, BODY, "10.1.2.3") == "acme"
    assert signed_as(upper) == signed_as(lower)


def test_the_signature_is_the_documented_one() -> None:
    made = signature(b"k" * 32, b"1750000000", "POST", PATH, BODY)
    assert made == b"0c3b294a28efaeac911951401da3bc0bff876e6b00ed5619708525996f957f59"


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "é"},
        {"key": "new"},
        {"key": "none"},
        {"provider": "other"},
        {"provider": "nobody"},
        {"provider": ""},
        {"timestamp": "1750000001"},
        {"timestamp": "1750000000 "},
    ],
)
def test_anything_changed_after_signing_is_a_wrong_signature(
    signatures: Signatures, clock: ManualClock, changed: dict[str, str]
) -> None:
    with pytest.raises(WrongSignature) as refused:
        signatures.verify(OPERATION, signed(clock, **changed), BODY, "10.1.2.3")
    assert refused.value.message == "The signature is not of this provider and key over this request."


def test_body_method_and_path_are_signed(signatures: Signatures, clock: ManualClock) -> None:
    credit = Operation("providers.credit", "POST", PATH.replace("debit", "credit"), Auth.SIGNATURE, nothing)
    put = Operation("providers.debit", "PUT", PATH, Auth.SIGNATURE, nothing)
    for operation, body in ((OPERATION, BODY + b" "), (OPERATION, b""), (credit, BODY), (put, BODY)):
        with pytest.raises(WrongSignature):
            signatures.verify(operation, signed(clock), body, "10.1.2.3")


def test_a_missing_header_is_named(signatures: Signatures, clock: ManualClock) -> None:
    for missing in signed(clock):
        with pytest.raises(WrongSignature, match=missing[0].decode()):
            signatures.verify(OPERATION, [pair for pair in signed(clock) if pair != missing], BODY, "10.1.2.3")


def test_a_request_counts_within_its_window_on_either_side(signatures: Signatures, clock: ManualClock) -> None:
    for after in (-300, 300):
        assert signatures.verify(OPERATION, signed(clock, after=after), BODY, "10.1.2.3") == "acme"
    for after in (-301, 301, -1_000_000_000):
        with pytest.raises(StaleTimestamp, match=str(int(clock.now()))):
            signatures.verify(OPERATION, signed(clock, after=after), BODY, "10.1.2.3")
    with pytest.raises(StaleTimestamp):
        signatures.verify(OPERATION, signed(clock, OTHERS, after=-11, provider="other"), BODY, "10.1.2.3")


@pytest.mark.parametrize("text", ["1750000000.0", "-1", "", "1e9", "9" * 13, "0x5"])
def test_a_timestamp_is_unix_seconds_even_when_signed(signatures: Signatures, clock: ManualClock, text: str) -> None:
    made = signature(OLD.encode(), text.encode(), "POST", PATH, BODY).decode()
    with pytest.raises(StaleTimestamp):
        signatures.verify(OPERATION, signed(clock, timestamp=text, signature=made), BODY, "10.1.2.3")


def test_only_allowed_addresses_get_in_and_strangers_do_not_learn_which(
    signatures: Signatures, clock: ManualClock
) -> None:
    for address in ("10.1.0.0", "10.1.255.255", "192.0.2.7", "2001:db8::1", "::ffff:10.1.2.3", "10.1.0.0"):
        assert signatures.verify(OPERATION, signed(clock), BODY, address) == "acme"
    for address in ("10.2.0.0", "192.0.2.8", "2001:db9::1", "::1", "", "unknown", "10.1.2.3:80"):
        with pytest.raises(ForbiddenAddress):
            signatures.verify(OPERATION, signed(clock), BODY, address)
        with pytest.raises(WrongSignature):
            signatures.verify(OPERATION, signed(clock, signature="0" * 64), BODY, address)


def test_every_refusal_has_a_word(signatures: Signatures) -> None:
    assert signatures.word(StaleTimestamp()) == "stale_timestamp"
    assert signatures.word(PalestraError()) == "internal"
