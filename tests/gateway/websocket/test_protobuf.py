"""Protobuf and JSON say the same: every envelope there and back, judged by the library's own mapping."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.app.build import table
from palestra.gateway.fields import BadInput
from palestra.gateway.operation import Message
from palestra.gateway.websocket import envelope
from palestra.gateway.websocket.protobuf import Protobuf, tag_of
from palestra.gateway.websocket.schema import LEGACY_PARTY, MEMBERS, SHARED
from tests.gateway.websocket import judge

FIELDS = {name: fields for (name, _), fields in MEMBERS.items()}
CLIENTS = [entry for entry in table() if isinstance(entry, Message)]
FORMAT = Protobuf()

_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
_times = st.builds(
    "20{:02}-0{}-1{}T0{}:00:59{}Z".format,
    st.integers(0, 99),
    *(st.integers(1, 9) for _ in range(3)),
    st.sampled_from(("", ".120", ".000001")),
)
_scalars: dict[str, st.SearchStrategy[Any]] = {
    "str": _texts,
    "bool": st.booleans(),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1).map(str),
    "f64": st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(("NaN", "Infinity", "-Infinity"))
    ),
    "bytes": st.binary(max_size=200).map(lambda raw: msgspec.json.decode(msgspec.json.encode(raw))),
    "ts": _times,
}


def contents(fields: str) -> st.SearchStrategy[dict[str, Any]]:
    """Canonical JSON of a message with these fields: whatever has its default is absent."""
    optional: dict[str, st.SearchStrategy[Any]] = {}
    one_of: dict[str, st.SearchStrategy[Any]] = {}
    for text in fields.split():
        name, _, kind = text.partition("#")
        kind, _, oneof = kind.partition(":")[2].partition("|")
        (one_of if oneof else optional)[name] = _values(kind, plain=not oneof)
    some = st.fixed_dictionaries({}, optional=optional)
    if not one_of:
        return some
    choice = st.one_of(
        st.just({}), *(values.map(lambda value, name=name: {name: value}) for name, values in one_of.items())
    )
    return st.builds(lambda first, second: {**first, **second}, choice, some)


def _values(kind: str, *, plain: bool) -> st.SearchStrategy[Any]:
    if kind.startswith("W<"):
        return _scalars[kind[2:-1]]
    if kind.startswith("map<"):
        return st.dictionaries(_texts, _scalars[kind[8:-1]], min_size=1, max_size=3)
    if kind.startswith("[]"):
        inner = kind[2:]
        return st.lists(_scalars[inner] if inner in _scalars else contents(SHARED[inner]), min_size=1, max_size=3)
    if kind in _scalars:
        return _scalars[kind].filter(lambda value: value not in ("", 0, "0", False)) if plain else _scalars[kind]
    return contents(SHARED[kind])


def envelopes(member: str, fields: str) -> st.SearchStrategy[dict[str, Any]]:
    """Envelopes of one member, with a cid or without."""
    return st.builds(
        lambda cid, content: {**cid, member: content}, st.sampled_from(({}, {"cid": "7"})), contents(fields)
    )


def plain(tree: Any) -> Any:
    """Pairs as an object."""
    if type(tree) is tuple:
        return {name: plain(value) for name, value in tree}
    return [plain(one) for one in tree] if type(tree) is list else tree


def test_there_is_a_schema_for_every_member() -> None:
    assert set(FIELDS) == set(envelope.MEMBERS)
    numbers = [number for _, number in MEMBERS]
    assert sorted(numbers) == list(range(2, 52))


@pytest.mark.parametrize("member", FIELDS)
def test_an_envelope_means_the_same_in_both_formats(member: str) -> None:
    ours, theirs = Protobuf("current"), judge.envelope_class("current")

    @settings(max_examples=40, deadline=None, database=None)
    @given(envelopes(member, FIELDS[member]))
    def check(value: dict[str, Any]) -> None:
        made = ours.encode(msgspec.json.encode(value))
        shown = json_format.MessageToDict(theirs.FromString(made), preserving_proto_field_name=True)
        assert shown == value
        assert plain(ours.decode(json_format.ParseDict(value, theirs()).SerializeToString())) == value

    check()


@settings(max_examples=40, deadline=None)
@given(envelopes("party", FIELDS["party"]))
def test_the_legacy_party_has_the_former_numbers_and_lacks_what_is_new(value: dict[str, Any]) -> None:
    made = Protobuf("legacy").encode(msgspec.json.encode(value))
    party = {name: content for name, content in value["party"].items() if name not in ("hidden", "label")}
    assert judge.decode(made) == {**value, "party": party}
    assert "max_size#3:i32" in LEGACY_PARTY
    assert "max_size#4:i32" in FIELDS["party"]


def test_times_and_numbers_at_their_ends_go_through_or_are_malformed() -> None:
    theirs = judge.envelope_class()
    protobuf = Protobuf()

    def told(seconds: int, nanos: int) -> Any:
        message = theirs()
        message.channel_message.create_time.seconds = seconds
        message.channel_message.create_time.nanos = nanos
        return plain(protobuf.decode(message.SerializeToString()))["channel_message"]["create_time"]

    assert told(0, 0) == "1970-01-01T00:00:00Z"
    assert told(-62_135_596_800, 1) == "0001-01-01T00:00:00.000000001Z"
    assert told(253_402_300_799, 999_000_000) == "9999-12-31T23:59:59.999Z"
    for seconds, nanos in ((2**62, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)):
        with pytest.raises(BadInput):
            told(seconds, nanos)


def test_unknown_fields_are_ignored_and_an_empty_envelope_is_empty() -> None:
    protobuf = Protobuf()
    assert protobuf.decode(b"") == ()
    assert protobuf.decode(b"\xfa\x3f\x02hi" + judge.encode({"cid": "1"})) == (("cid", "1"),)
    assert protobuf.decode(b"\xc2\x01\x06" + b"\x0a\x01x\xf8\x3f\x01") == (("rpc", (("id", "x"),)),)
    assert protobuf.encode(b'{"rpc":{"id":"x","unheard_of":1},"unheard_of":null}') == b"\xc2\x01\x03\x0a\x01x"


_noise = st.binary(max_size=60)
_tagged = st.builds(
    lambda name, size, noise: tag_of(name) + bytes((size,)) + noise,
    st.sampled_from(sorted(FIELDS)),
    st.integers(0, 60),
    _noise,
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(_noise, _tagged))
def test_noise_is_malformed_at_worst(payload: bytes) -> None:
    with contextlib.suppress(BadInput):
        plain(FORMAT.decode(payload))


@pytest.mark.parametrize(
    "payload", [b"\x0a\x02\xff\xff", b"\x0a", b"\x0a\x05abc", b"\x07", b"\xc2\x01\x03\x0a\x01\xff", b"\x0b"]
)
def test_broken_messages_are_malformed(payload: bytes) -> None:
    with pytest.raises(BadInput):
        Protobuf().decode(payload)


@pytest.mark.parametrize("message", [pytest.param(one, id=one.name) for one in CLIENTS])
def test_a_request_has_all_fields_of_its_message(message: Message) -> None:
    """Else a field would end a socket in JSON that Protobuf lets pass, and the other way round."""
    names = {text.partition("#")[0] for text in FIELDS[message.key].split()}
    assert {field.encode_name for field in msgspec.structs.fields(message.request)} == names


def test_a_node_without_protobuf_sockets_does_not_load_the_library() -> None:
    code = "import sys, palestra.app.build; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
