"""Type-directed decoding of requests: JSON bodies, query texts and path segments into msgspec structs.

The rules are the wire contract's: names in snake_case or lowerCamelCase, a name given twice is an error, null means
absent, numbers may come as texts, whole floats count as integers, enums may come by name. msgspec alone does
not know duplicates or two spellings, so requests are walked here; answers are encoded by msgspec directly.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta, inspect

from palestra.core.errors import InvalidArgument

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Int64Text = Annotated[str, Meta(extra_json_schema={"format": "int64"})]
"""A 64-bit integer of an answer, which goes out as text."""
JsonText = Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/json"})]
"""A text that is JSON in itself."""


def enumeration(**names: int) -> Meta:
    """`Annotated[int, enumeration(BEST=1)]` also accepts these names; an unknown name counts as unset."""
    return Meta(ge=-(2**31), le=2**31 - 1, extra={"names": names}, extra_json_schema={"x-names": list(names)})


class BadInput(InvalidArgument):
    """The request could not be decoded."""


Convert = Callable[[Any], Any]
_TRUE = frozenset(("1", "t", "T", "true", "True", "TRUE"))
_FALSE = frozenset(("0", "f", "F", "false", "False", "FALSE"))
INTEGER_TEXT = "^[+-]?[0-9]{1,40}$"
_INTEGER = re.compile(INTEGER_TEXT).fullmatch
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").fullmatch
_FOREIGN = str.maketrans("-_", "+/", "\r\n")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*").fullmatch


class _Unset(Exception):
    """A value that counts as absent."""


def camel(name: str) -> str:
    """lowerCamelCase of a snake_case name."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def canonical_base64(text: str, name: str) -> bytes:
    """Base64 in the standard alphabet with padding, from any of its forms. Raises BadInput, which names the field."""
    text = text.translate(_FOREIGN)
    body = text.rstrip("=")
    padding = len(text) - len(body)
    if not _BASE64(body) or len(body) % 4 == 1 or (padding and padding != -len(body) % 4):
        raise BadInput(f"invalid value for bytes field {name}")
    raw = binascii.a2b_base64(body + "=" * (-len(body) % 4))
    return binascii.b2a_base64(raw, newline=False)


class RequestDecoder:
    """Decodes the requests of one struct type. With `strict`, unknown names and trailing bytes are errors (sockets)."""

    def __init__(self, kind: type[msgspec.Struct], *, strict: bool = False) -> None:
        self.kind = kind
        self._strict = strict
        self._build = _struct(inspect.type_info(kind), strict)  # type: ignore[arg-type]
        self._texts = query_fields(kind)

    def json(self, body: bytes | str) -> msgspec.Struct:
        """A struct from JSON text; an empty body is an empty object. Raises BadInput."""
        return self._build(parse(body, strict=self._strict))

    def pairs(self, pairs: Any) -> msgspec.Struct:
        """A struct from an object as `parse` delivers it. Raises BadInput."""
        return self._build(pairs)

    def query(self, query: bytes, skip: frozenset[str], values: dict[str, Any]) -> None:
        """Add the fields found in a query string to `values`, but for those in `skip`. Raises BadInput."""
        lists: set[str] = set()
        for raw_name, raw_value, text in _parts(query):
            found = self._texts.get(text(raw_name))
            if found is None or found[0] in skip:
                continue
            name, convert, is_list = found
            value = convert(text(raw_value))
            if is_list:
                if name in lists:
                    values[name].append(value)
                else:
                    lists.add(name)
                    values[name] = [value]
            elif name in values:
                raise BadInput(f'too many values for field "{name}"')
            else:
                values[name] = value


def parse(body: bytes | str, *, strict: bool = False) -> Any:
    """JSON text as Python values, objects as tuples of (name, value) pairs. Raises BadInput.

    Trailing bytes after the first value are ignored unless `strict`.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
        start = _leading(text)
        if start == len(text):
            if strict:
                raise BadInput("syntax error: the message is empty")
            return ()
        value, end = _SCANNER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"syntax error: {error}"[:200]) from None
    if strict and _leading(text, end) != len(text):
        raise BadInput("syntax error: unexpected data after the message")
    if "\\ud" in text or "\\uD" in text:
        # A lone half of a surrogate pair is no text: no encoder would take it further.
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            raise BadInput("syntax error: invalid escape in a string") from None
    return value


def _reject_constant(name: str) -> Any:
    raise ValueError(f"invalid value {name}")


_SCANNER = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_reject_constant)
_leading_blanks = re.compile(r"[ \t\r\n]*").match


def _leading(text: str, at: int = 0) -> int:
    match = _leading_blanks(text, at)
    return match.end() if match else at


def _parts(query: bytes) -> Iterator[tuple[Any, Any, Callable[[Any], str]]]:
    """The names and values of a query, and what makes texts of them; nothing has to when nothing is escaped."""
    if query.isascii() and b"%" not in query and b"+" not in query:
        for part in query.decode().split("&"):
            if part:
                name, _, value = part.partition("=")
                yield name, value, str
    else:
        for raw in query.split(b"&"):
            if raw:
                raw_name, _, raw_value = raw.partition(b"=")
                yield raw_name, raw_value, _unescape


def _unescape(raw: bytes) -> str:
    if b"%" in raw:
        if re.search(rb"%(?![0-9a-fA-F]{2})", raw):
            raise BadInput(f"invalid URL escape in {raw[:40].decode('latin-1')!r}")
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    elif b"+" in raw:
        raw = raw.replace(b"+", b" ")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadInput("invalid UTF-8 in the query") from None


# -- converters of JSON values


def _struct(info: inspect.StructType, strict: bool) -> Convert:
    kind = info.cls
    fields: dict[str, tuple[str, Convert]] = {}
    for item in info.fields:
        entry = (item.name, _converter(item.type, strict, item.name))
        fields[item.name] = fields[camel(item.name)] = entry
    find = fields.get

    def build(pairs: Any) -> Any:
        if type(pairs) is not tuple:
            raise BadInput(f"syntax error: expected an object, got {_named(pairs)}")
        values: dict[str, Any] = {}
        nulls: set[str] | None = None
        for name, value in pairs:
            found = find(name)
            if found is None:
                if strict:
                    raise BadInput(f'unknown field "{name[:60]}"')
                continue
            key, convert = found
            if key in values or (nulls and key in nulls):
                raise BadInput(f'duplicate field "{key}"')
            if value is None:
                nulls = nulls or set()
                nulls.add(key)
                continue
            try:
                values[key] = convert(value)
            except _Unset:
                continue
        return kind(**values)

    return build


def _converter(info: inspect.Type, strict: bool, name: str) -> Convert:
    names: dict[str, int] = {}
    if isinstance(info, inspect.Metadata):
        names = (info.extra or {}).get("names", {})
        info = info.type
    if isinstance(info, inspect.UnionType):
        (info,) = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return _converter(info, strict, name)
    if isinstance(info, inspect.StructType):
        return _struct(info, strict)
    if isinstance(info, inspect.StrType):
        return _checked(str, name)
    if isinstance(info, inspect.BoolType):
        return _checked(bool, name)
    if isinstance(info, inspect.IntType):
        return _integer(info, names, name)
    if isinstance(info, inspect.FloatType):
        return _float(name)
    if isinstance(info, inspect.DateTimeType):
        return _time(name)
    if isinstance(info, inspect.ListType):
        return _list(_converter(info.item_type, strict, name), name)
    if isinstance(info, inspect.DictType):
        return _map(_converter(info.value_type, strict, name), name)
    raise TypeError(f"field {name}: {info} has no wire form")


def _checked(kind: type, name: str) -> Convert:
    word = "string" if kind is str else "bool"

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise BadInput(f"invalid value for {word} field {name}: {_named(value)}")
        return value

    return check


def _integer(info: inspect.IntType, names: dict[str, int], name: str) -> Convert:
    low = info.ge if info.ge is not None else -(2**63)
    high = info.le if info.le is not None else 2**63 - 1

    def convert(value: Any) -> int:
        kind = type(value)
        if kind is str:
            if names and not _INTEGER(value):
                if value not in names:
                    raise _Unset
                return names[value]
            if not _INTEGER(value):
                raise BadInput(f"invalid value for integer field {name}: {_named(value)}")
            value = int(value)
        elif kind is float and value.is_integer():
            value = int(value)
        elif kind is not int:
            raise BadInput(f"invalid value for integer field {name}: {_named(value)}")
        if not low <= value <= high:
            raise BadInput(f"invalid value for integer field {name}: out of range")
        return value

    return convert


def _float(name: str) -> Convert:
    def convert(value: Any) -> float:
        if type(value) is str and value in ("NaN", "Infinity", "-Infinity"):
            return float(value.replace("Infinity", "inf"))
        if type(value) not in (int, float) and not (type(value) is str and _NUMBER(value)):
            raise BadInput(f"invalid value for number field {name}: {_named(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise BadInput(f"invalid value for number field {name}: out of range")
        return number

    return convert


def _time(name: str) -> Convert:
    def convert(value: Any) -> datetime:
        try:
            return msgspec.convert(value, Annotated[datetime, Meta(tz=True)])
        except msgspec.ValidationError:
            raise BadInput(f"invalid value for time field {name}: expected RFC 3339 text") from None

    return convert


def _list(item: Convert, name: str) -> Convert:
    def convert(value: Any) -> list[Any]:
        if type(value) is not list:
            raise BadInput(f"syntax error: expected a list for {name}, got {_named(value)}")
        if None in value:
            raise BadInput(f"invalid value in list {name}: null")
        return [item(one) for one in value]

    return convert


def _map(item: Convert, name: str) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        if type(value) is not tuple:
            raise BadInput(f"syntax error: expected an object for {name}, got {_named(value)}")
        values = {key: item(one) for key, one in value}
        if len(values) != len(value):
            raise BadInput(f"duplicate name in {name}")
        return values

    return convert


def _named(value: Any) -> str:
    if type(value) is tuple:
        return "an object"
    if type(value) is list:
        return "a list"
    return json.dumps(value)[:60]


# -- converters of query texts and path segments


def query_fields(kind: type[msgspec.Struct]) -> dict[str, tuple[str, Convert, bool]]:
    """What a query may hold: for each spelling the field's name, its converter, and whether it may be repeated."""
    fields: dict[str, tuple[str, Convert, bool]] = {}
    for item in inspect.type_info(kind).fields:  # type: ignore[union-attr]
        info = item.type
        if isinstance(info, inspect.Metadata):
            info = info.type
        if isinstance(info, inspect.UnionType):
            (info,) = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        is_list = isinstance(info, inspect.ListType)
        convert = _text_converter(info.item_type if isinstance(info, inspect.ListType) else info, item.name)
        if convert is not None:
            fields[item.name] = fields[camel(item.name)] = (item.name, convert, is_list)
    return fields


def _text_converter(info: inspect.Type, name: str) -> Convert | None:
    if isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.StrType):
        return str
    if isinstance(info, inspect.BoolType):
        return _bool_text(name)
    if isinstance(info, inspect.IntType):
        checked = _integer(info, {}, name)

        def integer(text: str) -> int:
            if not _INTEGER(text) or (text[0] in "+-" and (info.ge or 0) >= 0 and info.ge is not None):
                raise BadInput(f'parsing field "{name}": parsing "{text[:40]}": invalid syntax')
            return checked(text)

        return integer
    return None


def _bool_text(name: str) -> Convert:
    def convert(text: str) -> bool:
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise BadInput(f'parsing field "{name}": parsing "{text[:40]}": invalid syntax')

    return convert
