"""The stock SDK's Protobuf adapter and ours agree on every field of every envelope that both know."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import msgspec

from palestra.gateway.websocket.protobuf import Protobuf
from palestra.gateway.websocket.schema import LEGACY_PARTY, MEMBERS, SHARED
from tests.sdk_js.walks import HERE, PROTOBUF_ADAPTER, node_js

FORMAT = Protobuf()
UNKNOWN_TO_THE_SDK = {
    "match_create": ["name"],
    "matchmaker_add": ["count_multiple"],
    "party_create": ["label", "hidden"],
    "party_matchmaker_add": ["count_multiple"],
}
SCALARS = {"bool": True, "f64": 1.5, "bytes": "AP8=", "ts": "2026-11-25T16:00:00.250Z"}


def value_of(kind: str, number: int) -> Any:
    """A value that is told from those of other fields."""
    if kind.startswith("W<"):
        return value_of(kind[2:-1], number)
    if kind.startswith("[]"):
        return [value_of(kind[2:], number), value_of(kind[2:], number + 1)]
    if kind.startswith("map<"):
        return {f"key {number}": value_of(kind[8:-1], number)}
    if kind in SHARED:
        return content_of(SHARED[kind], number)
    return {"str": f"text {number}", "i32": -number, "i64": str(2**40 + number), **SCALARS}[kind]


def content_of(fields: str, start: int = 0, lacking: int = 0) -> dict[str, Any]:
    """A message with every field set; of a oneof the first, or with `lacking` the second."""
    content: dict[str, Any] = {}
    chosen = 0
    for text in fields.split():
        name, _, rest = text.partition("#")
        number, _, kind = rest.partition(":")
        kind, _, oneof = kind.partition("|")
        if oneof:
            chosen += 1
            if chosen != 1 + lacking:
                continue
        content[name] = value_of(kind, start + int(number))
    return content


def envelopes() -> list[dict[str, Any]]:
    made = []
    for (name, _), fields in MEMBERS.items():
        if name == "party_update":
            continue  # newer than the adapter
        fields = LEGACY_PARTY if name == "party" else fields
        for lacking in (0, 1) if "|" in fields else (0,):
            content = content_of(fields, lacking=lacking)
            for unknown in UNKNOWN_TO_THE_SDK.get(name, []):
                del content[unknown]
            made.append({"cid": f"cid of {name}", name: content})
    return made


def plain(tree: Any) -> Any:
    """Pairs as objects, times as numbers, 64-bit integers as numbers; what is empty left out."""
    if isinstance(tree, tuple):
        tree = dict(tree)
    if isinstance(tree, dict):
        found = {name: plain(value) for name, value in tree.items()}
        return {name: int(value) if name == "op_code" else value for name, value in found.items() if value != []}
    if isinstance(tree, list):
        return [plain(one) for one in tree]
    return datetime.fromisoformat(tree).timestamp() if isinstance(tree, str) and tree[:3] == "202" else tree


async def test_both_read_what_the_other_writes() -> None:
    sent = envelopes()
    pairs = [
        (base64.b64encode(FORMAT.encode(msgspec.json.encode(one))).decode(), None if "create_time" in str(one) else one)
        for one in sent
    ]
    answers = await node_js(str(HERE / "transcode.mjs"), str(PROTOBUF_ADAPTER), told=json.dumps(pairs))
    for one, (read, written) in zip(sent, answers, strict=True):
        assert plain(read) == plain(one)
        if written is not None:
            assert plain(FORMAT.decode(base64.b64decode(written))) == plain(one)
