"""Envelopes by the Protobuf library's own descriptors of well-known types and its own JSON: what ours is judged by."""

from __future__ import annotations

from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)

from palestra.gateway.websocket.schema import LEGACY_PARTY, MEMBERS, SHARED

_WRAPPERS = {"W<str>": "StringValue", "W<bool>": "BoolValue", "W<i32>": "Int32Value"}
_SCALARS = {"str": 9, "bool": 8, "i32": 5, "i64": 3, "f64": 1, "bytes": 12}


def _fill(message: Any, fields: str) -> None:
    for text in fields.split():
        name, number, kind = text.replace("#", " ").replace(":", " ", 1).split()
        kind, _, oneof = kind.partition("|")
        field = message.field.add(name=name, number=int(number), label=1)
        if oneof:
            if not message.oneof_decl:
                message.oneof_decl.add(name=oneof)
            field.oneof_index = 0
        if kind.startswith("map"):
            entry = message.nested_type.add(name=json_name(name) + "Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=9)
            entry.field.add(name="value", number=2, label=1, type=_SCALARS[kind[8:-1]])
            field.label, field.type, field.type_name = 3, 11, f".judge.{message.name}.{entry.name}"
            continue
        if kind.startswith("[]"):
            field.label, kind = 3, kind[2:]
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
            continue
        wrapper = _WRAPPERS.get(kind, "Timestamp" if kind == "ts" else "")
        field.type, field.type_name = 11, f".google.protobuf.{wrapper}" if wrapper else f".judge.{kind}"


def json_name(name: str) -> str:
    """UpperCamelCase."""
    return "".join(part.capitalize() for part in name.split("_"))


def envelope_class(party: str = "legacy") -> Any:
    """The message class of an envelope."""
    pool = descriptor_pool.DescriptorPool()
    for known in (wrappers_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="judge.proto", package="judge", syntax="proto3")
    file.dependency.extend(("google/protobuf/wrappers.proto", "google/protobuf/timestamp.proto"))
    for name, fields in SHARED.items():
        _fill(file.message_type.add(name=name), fields)
    for (name, _), fields in MEMBERS.items():
        fields = LEGACY_PARTY if name == "party" and party == "legacy" else fields
        _fill(file.message_type.add(name=name), fields)
    members = " ".join(f"{name}#{number}:{name}|message" for name, number in MEMBERS)
    _fill(file.message_type.add(name="Envelope"), f"cid#1:str {members}")
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("judge.Envelope"))


_ENVELOPES: list[Any] = []


def encode(envelope: dict[str, Any]) -> bytes:
    """The Protobuf form of an envelope."""
    return json_format.ParseDict(envelope, _class()()).SerializeToString()


def decode(payload: bytes) -> dict[str, Any]:
    """The canonical JSON of an envelope, as Python values."""
    return json_format.MessageToDict(_class().FromString(payload), preserving_proto_field_name=True)


def _class() -> Any:
    if not _ENVELOPES:
        _ENVELOPES.append(envelope_class())
    return _ENVELOPES[0]
