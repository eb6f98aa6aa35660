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
