"""Protobuf sockets: envelopes between Protobuf and the JSON that everything behind the sockets knows."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from palestra.core.log import get_logger
from palestra.gateway.fields import BadInput
from palestra.gateway.websocket.envelope import FAILED, error_of
from palestra.gateway.websocket.frames import binary_frame_of
from palestra.gateway.websocket.schema import LEGACY_PARTY, MEMBERS, SHARED

log = get_logger(__name__)

PACKAGE = "envelopes"
_SMALL = [bytes((number,)) for number in range(128)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Convert = Callable[[Any], Any]


class Protobuf:
    """Turns JSON envelopes into Protobuf ones and back. `party` is the layout of the `party` message.

    The library and the descriptors are loaded with the first envelope: a node without Protobuf sockets does without.
    """

    def __init__(self, party: str = "legacy") -> None:
        self._party = party
        self._make: Callable[..., Any] | None = None
        self._parse: Callable[[bytes], Any]
        self._values: Convert
        self._pairs: Convert
        self._malformed: type[Exception]

    def frame(self, envelope: bytes) -> bytes:
        """The binary frame of an envelope given as JSON text; of an error when the schema cannot hold it."""
        try:
            return binary_frame_of(self.encode(envelope))
        except (TypeError, ValueError, AttributeError) as error:
            # Game code may send envelopes of its own. A wrong one must not end a broadcast halfway.
            log.error(
                "an envelope has no Protobuf form", envelope=envelope[:200].decode(errors="replace"), why=str(error)
            )
            return binary_frame_of(self.encode(error_of("", FAILED, "Internal error")))

    def encode(self, envelope: bytes) -> bytes:
        """The Protobuf form of an envelope given as JSON text; what the schema does not know is left out."""
        make = self._make or self._load()
        return make(**self._values(msgspec.json.decode(envelope))).SerializeToString()

    def decode(self, payload: bytes) -> Any:
        """An envelope as `fields.parse` gives it for the same in JSON. Raises BadInput."""
        if self._make is None:
            self._load()
        try:
            return self._pairs(self._parse(payload))
        except self._malformed as error:
            raise BadInput(f"syntax error: {error}"[:200]) from None

    def _load(self) -> Callable[..., Any]:
        from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(_file(descriptor_pb2, self._party).SerializeToString())
        descriptor = pool.FindMessageTypeByName(f"{PACKAGE}.Envelope")
        made = message_factory.GetMessageClass(descriptor)
        self._make, self._parse, self._malformed = made, made.FromString, message.DecodeError
        self._values, self._pairs = _values_of(descriptor, {}), _pairs_of(descriptor, {})
        return made


def tag_of(member: str) -> bytes:
    """The bytes that a member of the envelope begins with."""
    return varint(next(number for name, number in MEMBERS if name == member) << 3 | 2)


def varint(number: int) -> bytes:
    """An integer of at most 64 bits as Protobuf writes it: for what is encoded by hand."""
    if 0 <= number < 128:
        return _SMALL[number]
    number &= 0xFFFF_FFFF_FFFF_FFFF
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def delimited(tag: bytes, content: bytes) -> bytes:
    """A text, bytes or a message, after its tag; nothing when it is empty."""
    return tag + varint(len(content)) + content if content else b""


# -- descriptors


def _file(library: Any, party: str) -> Any:
    """The descriptor of a file with all messages; `library` is descriptor_pb2."""
    file = library.FileDescriptorProto(name="envelopes.proto", package=PACKAGE, syntax="proto3")
    for kind in ("str", "bool", "i32"):
        _add_message(library, file, f"{kind}_value", f"value#1:{kind}")
    _add_message(library, file, "timestamp", "seconds#1:i64 nanos#2:i32")
    for name, fields in SHARED.items():
        _add_message(library, file, name, fields)
    envelope = "cid#1:str"
    for (name, number), fields in MEMBERS.items():
        _add_message(library, file, name, LEGACY_PARTY if name == "party" and party == "legacy" else fields)
        envelope += f" {name}#{number}:{name}|oneof"
    _add_message(library, file, "Envelope", envelope)
    return file


def _add_message(library: Any, file: Any, name: str, fields: str) -> None:
    message = file.message_type.add(name=name)
    for text in fields.split():
        label, _, rest = text.partition("#")
        number, _, kind = rest.partition(":")
        kind, _, oneof = kind.partition("|")
        field = message.field.add(name=label, number=int(number), label=1)
        if oneof:
            if not message.oneof_decl:
                message.oneof_decl.add(name=oneof)
            field.oneof_index = 0
        if kind.startswith("map<str,"):
            entry = message.nested_type.add(name="".join(part.capitalize() for part in label.split("_")) + "Entry")
            entry.options.map_entry = True
            _set_type(library, entry.field.add(name="key", number=1, label=1), "str")
            _set_type(library, entry.field.add(name="value", number=2, label=1), kind[8:-1])
            field.label = 3
            field.type, field.type_name = 11, f".{PACKAGE}.{name}.{entry.name}"
            continue
        if kind.startswith("[]"):
            field.label = 3
        _set_type(library, field, kind.removeprefix("[]"))


def _set_type(library: Any, field: Any, kind: str) -> None:
    scalar = {"f64": "DOUBLE", "i64": "INT64", "i32": "INT32", "bool": "BOOL", "str": "STRING", "bytes": "BYTES"}
    if kind in scalar:
        field.type = library.FieldDescriptorProto.Type.Value(f"TYPE_{scalar[kind]}")
        return
    if kind.startswith("W<"):
        kind = f"{kind[2:-1]}_value"
    elif kind == "ts":
        kind = "timestamp"
    field.type, field.type_name = 11, f".{PACKAGE}.{kind}"


# -- from JSON values to what makes a message


def _values_of(descriptor: Any, known: dict[str, Convert]) -> Convert:
    """A function that turns a JSON object into the arguments of a message."""
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    find = {field.name: _value_of(field, known) for field in descriptor.fields}.get

    def values(tree: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in tree.items():
            convert = find(name)
            if convert is not None and value is not None:
                made[name] = convert(value)
        return made

    known[descriptor.full_name] = values
    return values


def _value_of(field: Any, known: dict[str, Convert]) -> Convert:
    if _is_map(field):
        item = _value_of(field.message_type.fields_by_name["value"], known)
        return lambda value: {key: item(one) for key, one in value.items()}
    convert = _single_value(field, known)
    return (lambda value: [convert(one) for one in value]) if field.is_repeated else convert


def _single_value(field: Any, known: dict[str, Convert]) -> Convert:
    if field.type == field.TYPE_MESSAGE:
        kind = field.message_type
        if kind.name == "timestamp":
            return _moment
        return (lambda value: {"value": value}) if kind.name.endswith("_value") else _values_of(kind, known)
    converts: dict[int, Convert] = {
        field.TYPE_INT64: int,
        field.TYPE_DOUBLE: float,
        field.TYPE_BYTES: binascii.a2b_base64,
    }
    return converts.get(field.type, _same)


def _moment(text: str) -> dict[str, int]:
    since = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    return {"seconds": since // 1_000_000, "nanos": since % 1_000_000 * 1_000}


# -- from messages to the pairs that JSON is parsed into


def _pairs_of(descriptor: Any, known: dict[str, Convert]) -> Convert:
    """A function that turns a message into (name, value) pairs, without what has its default."""
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    converts = {field.name: _pair_of(field, known) for field in descriptor.fields}

    def pairs(message: Any) -> tuple[tuple[str, Any], ...]:
        return tuple([(field.name, converts[field.name](value)) for field, value in message.ListFields()])

    known[descriptor.full_name] = pairs
    return pairs


def _pair_of(field: Any, known: dict[str, Convert]) -> Convert:
    if _is_map(field):
        item = _single_pair(field.message_type.fields_by_name["value"], known)
        return lambda value: tuple([(key, item(one)) for key, one in value.items()])
    convert = _single_pair(field, known)
    return (lambda value: [convert(one) for one in value]) if field.is_repeated else convert


def _single_pair(field: Any, known: dict[str, Convert]) -> Convert:
    if field.type == field.TYPE_MESSAGE:
        kind = field.message_type
        if kind.name == "timestamp":
            return _moment_text
        return (lambda value: value.value) if kind.name.endswith("_value") else _pairs_of(kind, known)
    converts: dict[int, Convert] = {
        field.TYPE_INT64: str,
        field.TYPE_DOUBLE: _number,
        field.TYPE_BYTES: lambda value: binascii.b2a_base64(value, newline=False).decode(),
    }
    return converts.get(field.type, _same)


def _moment_text(value: Any) -> str:
    try:
        whole = (_EPOCH + timedelta(seconds=value.seconds)).replace(tzinfo=None).isoformat()
    except OverflowError:
        raise BadInput("invalid value for a time: out of range") from None
    if not 0 <= value.nanos < 1_000_000_000:
        raise BadInput("invalid value for a time: nanos out of range")
    if not value.nanos:
        return f"{whole}Z"
    digits = f"{value.nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole}.{digits}Z"


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _same(value: Any) -> Any:
    return value


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
