"""Reading what players send to a match: the quick way says the same as the thorough one, or nothing."""

from __future__ import annotations

import base64
import json
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palestra.features.matches import wire
from palestra.features.matches.contract import BadListing, InvalidMatchId
from palestra.features.matches.rules import (
    check_listing,
    named_match,
    plain_data,
    plain_data_binary,
    split_match_id,
)
from palestra.gateway.fields import BadInput, RequestDecoder, canonical_base64
from palestra.gateway.websocket.protobuf import Protobuf, delimited, varint

MATCH = "0b6f6f0e-3f0c-4c59-9f4f-2a6d3a9a1f10"


def send(**parts: object) -> bytes:
    return json.dumps({"match_data_send": {"match_id": f"{MATCH}.", **parts}}, separators=(",", ":")).encode()


FORMAT = Protobuf()


@pytest.mark.parametrize(
    "parts",
    [
        {"op_code": "1", "data": "aGVsbG8="},
        {"op_code": "0", "data": ""},
        {"op_code": "-5", "data": "aGk=", "presences": [], "reliable": True},
        {"op_code": "12", "presences": [], "data": "aGVs", "reliable": False},
    ],
)
def test_what_sdks_send_is_read_the_quick_way(parts: dict[str, object]) -> None:
    found = plain_data(send(**parts))
    assert found is not None
    match, node, op_code, data, reliable = found
    assert match.decode() == MATCH
    assert node == b""
    assert op_code.decode() == parts["op_code"]
    assert data.decode() == parts["data"]
    assert bool(reliable) is parts.get("reliable", False)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"op_code": "1", "data": "aGVsbG8="},
        {"op_code": "4294967296", "data": base64.b64encode(bytes(range(256)) * 9).decode(), "reliable": True},
        {"reliable": True},
    ],
)
def test_what_sdks_send_in_protobuf_is_read_the_quick_way(parts: dict[str, object]) -> None:
    expected = (MATCH.encode(), b"", int(str(parts.get("op_code", 0))), base64.b64decode(str(parts.get("data", ""))))
    assert plain_data_binary(FORMAT.encode(send(**parts))) == (*expected, parts.get("reliable", False))


_varints = st.one_of(
    st.integers(0, 200).map(varint), st.integers(-(2**63), 2**64).map(varint), st.binary(min_size=1, max_size=11)
)
_fields = st.one_of(
    st.builds(lambda tag, number: bytes((tag,)) + number, st.sampled_from((0x10, 0x28, 0x30)), _varints),
    st.binary(max_size=200).map(lambda data: delimited(b"\x1a", data)),
    st.just(delimited(b"\x22", b"\x0a\x01x")),
    st.binary(max_size=3),
)


@settings(max_examples=500)
@given(
    st.sampled_from(
        (
            MATCH.encode() + b".",
            MATCH.encode(),
            MATCH.encode() + b".a.b",
            MATCH.encode() + b".\xff",
            b"x" * 36 + b".",
            b"\xff" * 36 + b".",
        )
    ),
    st.lists(_fields, max_size=4),
    st.sampled_from((b"", b"", b"", b"\x0a\x011", b"\x7a\x00", b"\x01")),
    st.sampled_from((0, 0, 0, 1)),
)
def test_the_quick_way_never_reads_protobuf_differently(
    match: bytes, fields: list[bytes], more: bytes, wrong: int
) -> None:
    content = delimited(b"\x0a", match) + b"".join(fields)
    payload = b"\x7a" + varint(len(content) + wrong) + content + more
    found = plain_data_binary(payload)
    if found is None:
        return
    try:
        tree = dict(dict(FORMAT.decode(payload))["match_data_send"])
    except BadInput:
        # Only texts are looked at more closely: an id that is no text names no match.
        assert b"\xff" in found[0] + found[1]
        return
    op_code, data = int(tree.get("op_code", 0)), base64.b64decode(tree.get("data", ""))
    named, _, node = tree["match_id"].partition(".")
    assert found == (named.encode(), node.encode(), op_code, data, tree.get("reliable", False))
    assert set(tree) <= {"match_id", "op_code", "data", "reliable"}


_alphabet = st.text('ABgw048kM/+-_= \\"', max_size=9)


@settings(max_examples=300)
@given(
    st.sampled_from((MATCH, MATCH.upper(), "x" * 36, MATCH[:-1])),
    st.sampled_from(("", "node", "a.b")),
    st.one_of(st.integers(-(10**20), 10**20).map(str), st.sampled_from(("-0", "01", "", "1.0", "1e3", "+1"))),
    st.one_of(st.binary(max_size=9).map(lambda raw: base64.b64encode(raw).decode()), _alphabet),
    st.sampled_from(("", ',"presences":[]', ',"reliable":true', ',"reliable":false', ',"op_code":"1"', " ")),
)
@example(MATCH, "", "1", "aGl=", "")
def test_the_quick_way_never_reads_anything_differently(
    match: str, node: str, op_code: str, data: str, more: str
) -> None:
    inner = f'{{"match_id":"{match}.{node}","op_code":"{op_code}","data":"{data}"{more}}}'
    payload = b'{"match_data_send":%b}' % inner.encode()
    found = plain_data(payload)
    if found is None:
        return
    request = RequestDecoder(wire.MatchDataSend, strict=True).json(inner)
    assert isinstance(request, wire.MatchDataSend)
    assert request.match_id == f"{found[0].decode()}.{found[1].decode()}"
    assert b"%d" % request.op_code == found[2]
    assert canonical_base64(request.data, "data") == found[3]
    assert request.reliable is (found[4] is not None)
    assert request.presences == []


def test_a_match_id_is_a_uuid_a_dot_and_a_node() -> None:
    assert split_match_id(f"{MATCH}.") == (MATCH, "")
    assert split_match_id(f"{MATCH.upper()}.node.a") == (MATCH, "node.a")
    for text in ("", ".", MATCH, "x.", f"{MATCH}x."):
        with pytest.raises(InvalidMatchId):
            split_match_id(text)


def test_equal_names_mean_one_match() -> None:
    assert named_match("arena") == str(uuid.uuid5(uuid.NAMESPACE_DNS, "arena"))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ((0, None, None, None, None, None), "Invalid limit - limit must be between 1 and 100."),
        ((101, None, None, None, None, None), "Invalid limit - limit must be between 1 and 100."),
        ((10, False, "", None, None, None), "Label filtering is not supported for non-authoritative matches."),
        ((10, False, None, "", None, None), "Query filtering is not supported for non-authoritative matches."),
        ((10, None, None, None, -1, None), "Minimum size must be 0 or above."),
        ((10, None, None, None, None, -1), "Maximum size must be 0 or above."),
        (
            (10, None, None, None, 3, 2),
            "Maximum size must be greater than or equal to minimum size when both are specified.",
        ),
    ],
)
def test_a_listing_out_of_range_says_which_parameter(parameters: tuple, text: str) -> None:
    with pytest.raises(BadListing) as caught:
        check_listing(*parameters)
    assert caught.value.message == text
