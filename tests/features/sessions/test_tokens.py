"""What a token says, and that nothing else is taken for one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import SessionSettings
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.sessions import service as sessions_module
from palestra.features.sessions.service import SessionService
from palestra.features.sessions.store import SessionStore

SETTINGS = SessionSettings(token_seconds=60, refresh_token_seconds=600)
GOOD_HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sessions(clock: ManualClock) -> SessionService:
    # Only revocations touch the database.
    return SessionService(SessionStore(Database("")), SETTINGS, clock)


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(claims: dict[str, Any], *, key: str = SETTINGS.encryption_key, header: dict[str, Any] = GOOD_HEADER) -> str:
    """A token made by somebody else's library."""
    head = text(json.dumps(header, separators=(",", ":")).encode()) + "." + text(json.dumps(claims).encode())
    return head + "." + text(hmac.digest(key.encode(), head.encode(), hashlib.sha256))


def claims_in(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def good_claims(clock: ManualClock, **changed: Any) -> dict[str, Any]:
    return {"tid": new_id(), "uid": new_id(), "usn": "ann", "exp": int(clock.now()) + 60, "iat": 0, **changed}


async def test_both_tokens_say_the_same_but_for_their_expiry_and_are_signed_with_two_keys(
    sessions: SessionService, clock: ManualClock
) -> None:
    user_id = new_id()
    pair = sessions.issue(user_id, "ann", {"team": "réd"})
    session, refresh = claims_in(pair.token), claims_in(pair.refresh_token)
    now = int(clock.now())
    assert session.pop("exp") == now + 60
    assert refresh.pop("exp") == now + 600
    assert session == refresh
    assert session == {"tid": session["tid"], "uid": user_id, "usn": "ann", "vrs": {"team": "réd"}, "iat": now}
    for token, key in ((pair.token, SETTINGS.encryption_key), (pair.refresh_token, SETTINGS.refresh_encryption_key)):
        head, _, signature = token.rpartition(".")
        assert signature == text(hmac.digest(key.encode(), head.encode(), hashlib.sha256))
        assert json.loads(base64.urlsafe_b64decode(head.split(".")[0] + "==")) == GOOD_HEADER


async def test_no_vars_leave_the_claim_out(sessions: SessionService) -> None:
    assert "vrs" not in claims_in(sessions.issue(new_id(), "ann", {}).token)


async def test_a_token_made_by_another_library_with_our_key_is_ours(
    sessions: SessionService, clock: ManualClock
) -> None:
    caller = sessions.verify(made(good_claims(clock)))
    assert caller is not None and caller.username == "ann"


@pytest.mark.parametrize(
    "header",
    [{"alg": "none", "typ": "JWT"}, {"alg": "HS512", "typ": "JWT"}, {"alg": "RS256", "typ": "JWT"}, {"typ": "JWT"}],
)
async def test_a_token_with_another_header_is_refused_however_it_is_signed(
    sessions: SessionService, clock: ManualClock, header: dict[str, Any]
) -> None:
    token = made(good_claims(clock), header=header)
    assert sessions.verify(token) is None
    assert sessions.verify(token.rpartition(".")[0] + ".") is None


async def test_a_changed_token_is_refused(sessions: SessionService, clock: ManualClock) -> None:
    pair = sessions.issue(new_id(), "ann", {})
    head, payload, signature = pair.token.split(".")
    other = text(json.dumps({**claims_in(pair.token), "usn": "bob"}).encode())
    wrong = [
        f"{head}.{other}.{signature}",
        f"{head}.{payload}.{signature[:-2]}AA",
        f"{head}.{payload}.",
        f"{head}.{payload}",
    ]
    wrong += [
        f"{pair.token}.",
        f".{pair.token}",
        pair.token + "=",
        "",
        "..",
        "a.b.c",
        "é.é.é",
        "\ud800",
        pair.token.lower(),
    ]
    assert [token for token in wrong if sessions.verify(token) is not None] == []
    assert sessions.verify(pair.token) is not None


async def test_tokens_of_another_key_or_for_the_other_use_are_refused(
    sessions: SessionService, clock: ManualClock
) -> None:
    pair = sessions.issue(new_id(), "ann", {})
    assert sessions.verify(made(good_claims(clock), key="another key")) is None
    assert sessions.verify(pair.refresh_token) is None
    with pytest.raises(sessions_module.RefreshTokenInvalid):
        sessions.read_refresh(pair.token)


@pytest.mark.parametrize("changed", [{"uid": "ann"}, {"uid": ""}, {"exp": "soon"}, {"exp": None}, {"tid": 5}])
async def test_well_signed_nonsense_is_refused(
    sessions: SessionService, clock: ManualClock, changed: dict[str, Any]
) -> None:
    assert sessions.verify(made(good_claims(clock, **changed))) is None


async def test_a_token_lives_until_the_second_it_names_and_its_refresh_token_longer(
    sessions: SessionService, clock: ManualClock
) -> None:
    pair = sessions.issue(new_id(), "ann", {})
    clock.advance(59)
    assert sessions.verify(pair.token) is not None
    clock.advance(1)
    assert sessions.verify(pair.token) is None
    sessions.read_refresh(pair.refresh_token)
    clock.advance(540)
    with pytest.raises(sessions_module.RefreshTokenInvalid):
        sessions.read_refresh(pair.refresh_token)


async def test_known_tokens_are_bounded_in_number_and_length(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "KNOWN_TOKENS_MAX", 3)
    tokens = [sessions.issue(new_id(), "ann", {}).token for _ in range(10)]
    stuffed = sessions.issue(new_id(), "ann", {"big": "x" * 2_000}).token
    for token in (*tokens, stuffed, *tokens):
        assert sessions.verify(token) is not None
    assert len(sessions._known) == 3
    assert stuffed not in sessions._known
