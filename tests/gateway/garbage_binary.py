"""Generated garbage in Protobuf: envelopes that nearly fit the schema."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from palestra.gateway.websocket.protobuf import delimited, tag_of, varint
from palestra.gateway.websocket.schema import MEMBERS, SHARED
from tests.gateway.garbage import INTEGERS, named, texts

FIELDS = {name: fields for (name, _), fields in MEMBERS.items()}
DOUBLES = (0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 1e308)
VARINT, FIXED64, LENGTH = 0, 1, 2

_noise = st.binary(max_size=40)
_tags = st.binary(min_size=1, max_size=5)


@st.composite
def binary_envelopes(draw: st.DrawFn, members: tuple[str, ...]) -> bytes:
    """An envelope with one of these members, rarely with others besides, bent, cut short or no envelope at all."""
    dice = draw(st.integers(0, 19))
    if dice == 0:
        return draw(_noise)
    name = draw(st.sampled_from(members if dice > 2 else tuple(FIELDS)))
    cid = delimited(b"\x0a", draw(texts).encode("utf-8", "surrogatepass")) if draw(st.booleans()) else b""
    payload = cid + delimited_even_if_empty(tag_of(name), draw(contents(FIELDS[name])))
    if dice == 1:
        at = draw(st.integers(0, len(payload) - 1))
        payload = payload[:at] + draw(_noise) + payload[at + draw(st.integers(0, 2)) :]
    elif dice == 2:
        payload = payload[: draw(st.integers(0, len(payload)))]
    return payload + (draw(_noise) if dice == 3 else b"")


def delimited_even_if_empty(tag: bytes, content: bytes) -> bytes:
    return delimited(tag, content) or tag + b"\0"


@st.composite
def contents(draw: st.DrawFn, fields: str) -> bytes:
    """The fields of a message: left out, given twice, of another type, unknown ones among them."""
    made = b""
    for text in fields.split():
        dice = draw(st.integers(0, 19))
        if dice < 4:
            continue
        for _ in range(2 if dice == 4 else 1):
            made += draw(_tags) + draw(_noise) if dice == 5 else draw(field(text))
    return made


@st.composite
def field(draw: st.DrawFn, text: str) -> bytes:
    """One field with a value of about its type."""
    name, _, rest = text.partition("#")
    number, _, kind = rest.partition(":")
    kind = kind.partition("|")[0].removeprefix("[]")
    value, wire = draw(values(name, kind))
    tag = varint(int(number) << 3 | wire)
    return delimited_even_if_empty(tag, value) if wire == LENGTH else tag + value


@st.composite
def values(draw: st.DrawFn, name: str, kind: str) -> tuple[bytes, int]:
    """A value and its wire type."""
    if kind == "str":
        return draw(named(name)).encode("utf-8", "surrogatepass"), LENGTH
    if kind == "bytes":
        return draw(_noise), LENGTH
    if kind in ("bool", "i32", "i64"):
        return varint(draw(st.sampled_from(INTEGERS)) & 0xFFFF_FFFF_FFFF_FFFF), VARINT
    if kind == "f64":
        return struct.pack("<d", draw(st.sampled_from(DOUBLES))), FIXED64
    if kind.startswith("W<"):
        return draw(contents(f"value#1:{kind[2:-1]}")), LENGTH
    if kind.startswith("map<"):
        return draw(contents(f"key#1:str value#2:{kind[8:-1]}")), LENGTH
    return draw(contents("seconds#1:i64 nanos#2:i32" if kind == "ts" else SHARED[kind])), LENGTH
