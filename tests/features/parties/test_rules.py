"""A party as a state machine, played at random against plain lists; and what ids, labels and names may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from palestra.core.ids import new_id
from palestra.features.parties.contract import (
    AlreadyMember,
    CannotRemoveSelf,
    HiddenWithLabel,
    InvalidMaxSize,
    InvalidPartyId,
    InvalidPresence,
    LabelNotObject,
    LabelTooLong,
    LeaderOnly,
    MemberNotFound,
    PartyError,
    PartyFull,
    RequestDuplicate,
    RequestNotFound,
    RequestsFull,
)
from palestra.features.parties.rules import Party, check_max_size, check_presence, read_label, split_party_id
from palestra.features.streams.contract import PARTY, Stream
from palestra.gateway.presence import UserPresence
from tests.features.listener import Listener

SOCKETS = [Listener(user, session_id=f"{user}-{number}") for user in ("ann", "bob", "cid", "dan") for number in (1, 2)]
somebody = st.sampled_from(SOCKETS)
mangled = st.sampled_from(("", "", "", "", "user_id", "username", "session_id"))


def named(session: Listener, wrong: str = "") -> UserPresence:
    """A session as clients name it, one part of it wrong if asked for."""
    parts = {"user_id": session.caller.user_id, "session_id": session.id, "username": session.caller.username}
    return UserPresence(**{**parts, wrong: "other"}) if wrong else UserPresence(**parts)


class Played(RuleBasedStateMachine):
    """`members` and `waiting` are the model: sockets in the order of coming and of asking. The last one stays."""

    @initialize(maker=somebody, max_size=st.integers(1, 4), open=st.booleans())
    def make(self, maker: Listener, max_size: int, open: bool) -> None:
        self.party = Party(Stream(PARTY, new_id(), label="n"), 1, 0, maker, max_size)
        self.party.describe("", open=open, hidden=False)
        self.members, self.waiting, self.leader = [maker], [], maker
        self.party.came(maker)

    def steps(self, step: Callable[[], Any], refusal: type[PartyError] | None) -> Any:
        """Take a step that must be refused so, or not at all; a refusal changes nothing."""
        before = self.seen()
        try:
            result = step()
        except PartyError as error:
            assert type(error) is refusal
            assert self.seen() == before
            return None
        assert refusal is None
        return result

    def seen(self) -> Any:
        party = self.party
        return list(party.members), list(party.requests), party.leader.id, party.info, dict(party.document)

    def enters(self, session: Listener) -> None:
        self.party.came(session)
        self.members.append(session)
        if session in self.waiting:
            self.waiting.remove(session)

    def full(self) -> bool:
        return len(self.members) >= self.party.max_size

    @rule(session=somebody)
    def knock(self, session: Listener) -> None:
        waiting_users = {one.caller.user_id for one in self.waiting}
        refusal: type[PartyError] | None = None
        if self.full():
            refusal = PartyFull
        elif not self.party.open and len(self.waiting) >= self.party.max_size:
            refusal = RequestsFull
        elif not self.party.open and session.caller.user_id in waiting_users:
            refusal = RequestDuplicate
        elif not self.party.open and session in self.members:
            refusal = AlreadyMember
        may_enter = self.steps(lambda: self.party.knock(session), refusal)
        if refusal is None:
            assert may_enter is self.party.open
            if not may_enter:
                self.waiting.append(session)
            elif session not in self.members:
                self.enters(session)

    @rule(session=somebody)
    @precondition(lambda self: len(self.members) > 1)
    def go(self, session: Listener) -> None:
        if session in self.members:
            self.members.remove(session)
            led_anew = session is self.leader
            assert self.party.went(session) is led_anew
            if led_anew:
                self.leader = self.members[0]

    @rule(asker=somebody, whom=somebody, wrong=mangled)
    def accept(self, asker: Listener, whom: Listener, wrong: str) -> None:
        refusal: type[PartyError] | None = None
        if asker is not self.leader:
            refusal = LeaderOnly
        elif wrong or whom not in self.waiting:
            refusal = RequestNotFound
        elif self.full():
            refusal = PartyFull
        let_in = self.steps(lambda: self.party.accept(asker, named(whom, wrong)), refusal)
        if refusal is None:
            assert let_in is whom
            self.enters(whom)

    @rule(asker=somebody, whom=somebody, wrong=mangled)
    def remove(self, asker: Listener, whom: Listener, wrong: str) -> None:
        refusal: type[PartyError] | None = None
        if asker is not self.leader:
            refusal = LeaderOnly
        elif whom is asker and wrong != "session_id":
            refusal = CannotRemoveSelf
        elif wrong or whom not in (*self.members, *self.waiting):
            refusal = MemberNotFound
        out = self.steps(lambda: self.party.remove(asker, named(whom, wrong)), refusal)
        if refusal is None and whom in self.members:
            assert out is whom
            self.go(whom)
        elif refusal is None:
            assert out is None
            self.waiting.remove(whom)

    @rule(asker=somebody, whom=somebody, wrong=mangled)
    def promote(self, asker: Listener, whom: Listener, wrong: str) -> None:
        refusal: type[PartyError] | None = None
        if asker is not self.leader:
            refusal = LeaderOnly
        elif wrong or whom not in self.members:
            refusal = MemberNotFound
        self.steps(lambda: self.party.promote(asker, named(whom, wrong)), refusal)
        if refusal is None:
            self.leader = whom

    @rule(asker=somebody, label=st.sampled_from(("", '{"a": 1}', "[]")), open=st.booleans(), hidden=st.booleans())
    def update(self, asker: Listener, label: str, open: bool, hidden: bool) -> None:
        refusal: type[PartyError] | None = None
        if asker is not self.leader:
            refusal = LeaderOnly
        elif hidden and label:
            refusal = HiddenWithLabel
        elif label == "[]":
            refusal = LabelNotObject
        self.steps(lambda: self.party.update(asker, label, open=open, hidden=hidden), refusal)
        if refusal is None:
            assert (self.party.label, self.party.open, self.party.hidden) == (label, open, hidden)

    @invariant()
    def the_party_is_what_the_model_says(self) -> None:
        party = self.party
        assert list(party.members.values()) == self.members
        assert list(party.requests.values()) == self.waiting
        assert party.leader is self.leader

    @invariant()
    def no_limit_is_exceeded_and_a_leader_is_a_member(self) -> None:
        party = self.party
        assert len(party.members) <= party.max_size
        assert len(party.requests) <= party.max_size
        assert party.leader.id in party.members
        assert not set(party.members) & set(party.requests)
        assert len({one.caller.user_id for one in party.requests.values()}) == len(party.requests)


TestPlayed = Played.TestCase


PARTY_ID = "0b6f6f0e-3f0c-4c59-9f4f-2a6d3a9a1f10"


def test_a_party_id_is_a_uuid_a_dot_and_a_node() -> None:
    assert split_party_id(f"{PARTY_ID.upper()}.node.a") == Stream(PARTY, PARTY_ID, label="node.a")
    for text in ("", ".", PARTY_ID, "x.node", f"{PARTY_ID}x.node"):
        with pytest.raises(InvalidPartyId):
            split_party_id(text)


@pytest.mark.parametrize("missing", ["user_id", "session_id", "username"])
def test_a_presence_names_user_session_and_username(missing: str) -> None:
    whole = named(SOCKETS[0])
    assert check_presence(whole) is whole
    with pytest.raises(InvalidPresence):
        check_presence(UserPresence(**{"user_id": "u", "session_id": "s", "username": "n", missing: ""}))
    with pytest.raises(InvalidPresence):
        check_presence(None)


def test_a_party_has_from_1_to_256_places() -> None:
    assert [check_max_size(size) for size in (1, 256)] == [1, 256]
    for size in (-1, 0, 257):
        with pytest.raises(InvalidMaxSize):
            check_max_size(size)


def test_a_label_has_2048_bytes_not_characters() -> None:
    fits = json.dumps({"a": "é" * ((2048 - 8) // 2)}, ensure_ascii=False, separators=(",", ":"))
    assert len(fits.encode()) == 2048
    assert read_label(fits)
    with pytest.raises(LabelTooLong):
        read_label(fits + " ")


@pytest.mark.parametrize("label", ["[]", "1", "null", '"a"', "{", "{'a':1}", '{"a":1}x', "[" * 2000, '{"a":' * 400])
def test_a_label_is_a_json_object(label: str) -> None:
    with pytest.raises(LabelNotObject):
        read_label(label)


def test_a_label_may_be_deep() -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    party = Party(Stream(PARTY, PARTY_ID, label="n"), 1, 0, SOCKETS[0], 1)
    party.describe(deep, open=True, hidden=False)
    assert party.compact_label == deep


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_what_is_listed_says_what_the_label_says(content: dict[str, Any]) -> None:
    label = json.dumps(content)
    party = Party(Stream(PARTY, PARTY_ID, label="n"), 1, 0, SOCKETS[0], 1)
    if len(label.encode()) > 2048:
        return
    party.describe(label, open=True, hidden=False)
    assert json.loads(party.compact_label) == json.loads(label)
