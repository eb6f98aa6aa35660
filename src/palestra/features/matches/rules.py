"""Match ids, and the two ways to read what a player sends to a match."""

from __future__ import annotations

import re
import uuid

from palestra.core.ids import parse_id
from palestra.features.matches.contract import BadListing, InvalidMatchId

RELAYED_NODE = ""
LIST_LIMIT_MAX = 100
TOKEN_SECONDS = 30

_PLAIN = re.compile(
    rb'\{"match_data_send":\{"match_id":"([^"\\]{36})\.([^"\\]*)","op_code":"(0|-?[1-9][0-9]{0,17})"(?:,"presences":\[\])?'
    rb',"data":"([A-Za-z0-9+/]*(?:[AQgw]==|[AEIMQUYcgkosw048]=)?)"(?:,"presences":\[\])?(?:,"reliable":(?:(true)|false))?\}\}'
).fullmatch
_MATCH_DATA_SEND, _MATCH_ID, _OP_CODE, _DATA, _RELIABLE = 0x7A, 0x0A, 0x10, 0x1A, 0x28
"""Tags of the member and its fields."""
_DOT, _UUID_CHARS = 0x2E, 36


def plain_data(payload: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes | None] | None:
    """(match, node, op code, data, reliable or not) of a match_data_send envelope in the form nearly all are sent in.

    None for any other, valid or not. The pattern admits no member twice and only canonical base64, so it reads nothing
    differently from the full decoder; but `match` may be any 36 bytes and
    `node` any at all: they are good only if there is such a match.
    """
    found = _PLAIN(payload)
    if found is None:
        return None
    match, node, op_code, data, reliable = found.groups()
    return None if len(data) & 3 else (match, node, op_code, data, reliable)


def plain_data_binary(payload: bytes) -> tuple[bytes, bytes, int, bytes, bool] | None:
    """The same of an envelope in Protobuf, whose fields come in the order of their numbers as encoders write them.

    None for whatever has a cid, presences, unknown fields, fields twice or lengths that do not fit: the library reads
    those.
    """
    try:
        if payload[0] != _MATCH_DATA_SEND:
            return None
        size, at = _varint(payload, 1)
        end = at + size
        if end != len(payload) or payload[at] != _MATCH_ID:
            return None
        size, at = _varint(payload, at + 1)
        if size <= _UUID_CHARS or payload[at + _UUID_CHARS] != _DOT:
            return None
        match, node = payload[at : at + _UUID_CHARS], payload[at + _UUID_CHARS + 1 : at + size]
        at += size
        op_code, data, reliable = 0, b"", 0
        if at < end and payload[at] == _OP_CODE:
            op_code, at = _varint(payload, at + 1)
        if at < end and payload[at] == _DATA:
            size, at = _varint(payload, at + 1)
            data = payload[at : at + size]
            at += size
        if at < end and payload[at] == _RELIABLE:
            reliable, at = _varint(payload, at + 1)
    except IndexError:
        return None
    return (match, node, op_code, data, reliable != 0) if at == end else None


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """A number of at most 63 bits, and where it ends. Raises IndexError for others and at the end of the payload."""
    byte = payload[at]
    number, shift, at = byte & 127, 7, at + 1
    while byte > 127:
        if shift > 56:
            raise IndexError
        byte = payload[at]
        number |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
    return number, at


def split_match_id(text: str) -> tuple[str, str]:
    """(UUID, node) of a match id; the node of a relayed match is empty. Raises InvalidMatchId."""
    first, dot, node = text.partition(".")
    if not dot:
        raise InvalidMatchId
    try:
        return parse_id(first), node
    except ValueError:
        raise InvalidMatchId from None


def named_match(name: str) -> str:
    """The UUID of the match that all who use this name share."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def check_listing(
    limit: int,
    authoritative: bool | None,
    label: str | None,
    query: str | None,
    min_size: int | None,
    max_size: int | None,
) -> None:
    """Raises BadListing, with the wire's text, for parameters out of range or out of place."""
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise BadListing("Invalid limit - limit must be between 1 and 100.")
    if authoritative is False and label is not None:
        raise BadListing("Label filtering is not supported for non-authoritative matches.")
    if authoritative is False and query is not None:
        raise BadListing("Query filtering is not supported for non-authoritative matches.")
    if min_size is not None and min_size < 0:
        raise BadListing("Minimum size must be 0 or above.")
    if max_size is not None and max_size < 0:
        raise BadListing("Maximum size must be 0 or above.")
    if min_size is not None and max_size is not None and max_size < min_size:
        raise BadListing("Maximum size must be greater than or equal to minimum size when both are specified.")
