"""Generated garbage: values, JSON texts, queries and paths that nearly fit what an operation asks for."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from msgspec import inspect

from palestra.gateway.fields import camel
from palestra.gateway.operation import Message, Operation

UUID = "3f2b1c9e-0d55-4a57-9a52-0f3d1f1f7a11"
"""Whoever sends it may put the id of a real group in its place,"""
ME = "5d1f0d1c-6f0e-4a60-8d7e-5f0a2b9c4e22"
"""and here the id of the player who sends it."""
PARTY = "7a3e8f10-5b8d-4b61-9a44-2c1d9e6b7f33"
"""and here that of a party."""
GOOD = {
    "leaderboard_id": "board",
    "group_id": UUID,
    "user_id": ME,
    "owner_id": ME,
    "owner_ids": ME,
    "ids": ME,
    "user_ids": ME,
    "channel_id": f"3.{UUID}..",
    "collection": "saves",
    "key": "slot",
    "value": '{"a":1}',
    "id": "echo-is-long-enough",
    "email": "player@game.example",
    "password": "password-of-a-player",
    "metadata": '{"a":1}',
    "score": "10",
    "match_id": f"{UUID}.",
    "name": "somebody",
    "cursor": "",
    "party_id": f"{PARTY}.palestra",
    "ticket": UUID,
    "message_id": UUID,
    "session_id": UUID,
    "target": "lobby",
    "content": '{"text":"hello"}',
    "status": "playing",
    "label": '{"mode":"duel"}',
    "query": "+properties.mode:duel",
    "data": "eyJhIjoxfQ==",
    "username": "somebody",
}
TEXTS = (
    "",
    " ",
    "a",
    "board",
    "echo",
    "long-enough-identifier",
    "player@game.example",
    "password-of-a-player",
    UUID,
    ME,
    UUID.upper(),
    UUID.replace("-", ""),
    "{" + UUID + "}",
    "urn:uuid:" + UUID,
    "00000000-0000-0000-0000-000000000000",
    UUID + ".",
    UUID + ".node",
    "2." + UUID + "..",
    "{}",
    '{"a":{"b":[1,2,{"c":null}]}}',
    '{"a":1e400}',
    '{"a":"\\u0000"}',
    '{"a":"\\ud800"}',
    '{"a":' * 600 + "1" + "}" * 600,
    "[]",
    "null",
    "*",
    "+a:b -c:>=1 d:/x.*/^2 e:w*ld~1",
    '+label.mode:"duel" -label.size:>3',
    "\x00",
    "a\x00b",
    "a\nb",
    "\u202e\ufeff\U0001f600",
    "e\u0301" * 40,
    "x" * 129,
    "x" * 300,
    "x" * 5000,
    "%",
    "%_\\",
    "'; drop table users; --",
    "1",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1" * 5000,
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-02-30T00:00:00Z",
    "2026-06-30T23:59:60Z",
    "eyJhIjoxfQ==",
    "e30",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
    "best",
    "INCREMENT",
    "NOTHING",
    "T",
    "../../etc/passwd",
    "ａｄｍｉｎ",
    "\u0130stanbul",
    "\u00df",
)
INTEGERS = (0, 1, -1, 2, 3, 10, 100, 101, 1000, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, 2**63, -(2**63), 10**30)
LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-0",
    "1.0",
    "1.5",
    "1e3",
    "1e-400",
    "01",
    "1" * 5000,
    "tru",
    "'a'",
)

texts = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.text(max_size=20), st.text(st.characters(), max_size=8)
)


class Literal(str):
    """JSON text that is put in as it is."""


class Pairs(list[tuple[str, Any]]):
    """An object that may name a field twice."""


junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(INTEGERS),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
        st.sampled_from(LITERALS).map(Literal),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(texts, inner), max_size=3).map(Pairs)),
    max_leaves=6,
)


def encoded(value: Any) -> str:
    """JSON text of a generated value."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(name)}:{encoded(one)}" for name, one in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encoded, value)) + "]"
    return json.dumps(value)


def _plain(info: inspect.Type) -> inspect.Type:
    while not isinstance(info, inspect.StructType):
        if isinstance(info, inspect.Metadata):
            info = info.type
        elif isinstance(info, inspect.UnionType):
            (info,) = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        else:
            break
    return info


def fitting(info: inspect.Type, name: str = "") -> st.SearchStrategy[Any]:
    """Values of about the right type, for a field of this name."""
    info = _plain(info)
    if isinstance(info, inspect.StructType):
        return near_struct(info)
    if isinstance(info, inspect.BoolType):
        return st.booleans()
    if isinstance(info, inspect.IntType):
        return st.one_of(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS).map(str), st.integers(-5, 120))
    if isinstance(info, inspect.FloatType):
        return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(info, inspect.ListType):
        return st.lists(fitting(info.item_type, name), max_size=4)
    if isinstance(info, inspect.DictType):
        return st.lists(st.tuples(texts, fitting(info.value_type)), max_size=3).map(Pairs)
    return named(name)


def named(name: str) -> st.SearchStrategy[str]:
    """Texts for a field of this name: often one that would do."""
    return st.one_of(st.just(GOOD[name]), st.just(GOOD[name]), texts) if name in GOOD else texts


def _mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda dice: bad if dice == 0 else good)


@st.composite
def near_struct(draw: st.DrawFn, info: inspect.StructType) -> Pairs:
    """An object like the struct: fields left out, misspelt, given twice, of the wrong type."""
    pairs = Pairs()
    for field in info.fields:
        dice = draw(st.integers(0, 9))
        if dice < 2:
            continue
        name = camel(field.name) if dice == 3 else field.name
        pairs.append((name, draw(_mostly(fitting(field.type, field.name), junk))))
        if dice == 4 and draw(st.booleans()):
            pairs.append((draw(st.sampled_from((name, camel(name), "other", ""))), draw(junk)))
    return pairs


def _body_type(operation: Operation) -> inspect.Type | None:
    whole = inspect.type_info(operation.request)
    assert isinstance(whole, inspect.StructType)
    if operation.body in ("", "*"):
        return whole if operation.body else None
    return next(field.type for field in whole.fields if field.name == operation.body)


@st.composite
def bodies(draw: st.DrawFn, operation: Operation) -> bytes:
    """A body for an operation."""
    dice = draw(st.integers(0, 19))
    if dice == 0:
        return draw(st.binary(max_size=60))
    if dice == 1:
        return encoded(draw(junk)).encode("utf-8", "surrogatepass")
    info = _body_type(operation)
    if operation.raw:
        return json.dumps(draw(texts)).encode()
    if info is None:
        return b""
    text = encoded(draw(fitting(info))).encode("utf-8", "surrogatepass")
    if dice == 2:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=4)) + text[at + draw(st.integers(0, 4)) :]
    return text


@st.composite
def queries(draw: st.DrawFn, operation: Operation) -> str:
    """A query for an operation: its fields with values that nearly fit, or anything."""
    if draw(st.integers(0, 14)) == 0:
        return draw(st.text(st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters="#"), max_size=40))
    whole = inspect.type_info(operation.request)
    assert isinstance(whole, inspect.StructType)
    parts = []
    for field in whole.fields:
        info = _plain(field.type)
        item = _plain(info.item_type) if isinstance(info, inspect.ListType) else info
        for _ in range(draw(st.integers(0, 2 if isinstance(info, inspect.ListType) else 1))):
            value = draw(_mostly(fitting(item, field.name), texts))
            text = json.dumps(value) if isinstance(value, bool) else str(value)
            parts.append(f"{draw(st.sampled_from((field.name, camel(field.name))))}={_escaped(text[:700])}")
    return "&".join(parts)


@st.composite
def paths(draw: st.DrawFn, operation: Operation) -> str:
    """The operation's path with anything for its parameters, rarely bent."""
    segments = []
    for segment in operation.path.split("/"):
        if segment.startswith("{"):
            segments.append(_escaped(draw(named(segment[1:-1]))[:700]))
        elif draw(st.integers(0, 60)) == 0:
            segments.append(draw(st.sampled_from(("", ".", "..", "%2F", "%00", "%ff", "x" * 500, segment + "/"))))
        else:
            segments.append(segment)
    return "/".join(segments) or "/"


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="+:;,@!$'()*[]{}|^`\"")


@st.composite
def envelopes(draw: st.DrawFn, message: Message | None, keys: tuple[str, ...]) -> bytes:
    """An envelope for a message of the table, or one that names none or others."""
    dice = draw(st.integers(0, 19))
    if dice == 0:
        return encoded(draw(junk)).encode("utf-8", "surrogatepass")
    pairs = Pairs()
    if draw(st.booleans()):
        pairs.append(("cid", draw(_mostly(texts, junk))))
    if message is None or dice == 1:
        pairs.append((draw(st.sampled_from(keys)), draw(st.one_of(st.just(Pairs()), junk))))
    if message is not None:
        info = inspect.type_info(message.request)
        pairs.append((draw(st.sampled_from((message.key, camel(message.key)))), draw(_mostly(fitting(info), junk))))
    return encoded(pairs).encode("utf-8", "surrogatepass")
