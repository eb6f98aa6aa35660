"""Every operation that can be hooked has a request type and a response type of its name."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from palestra import requests, responses
from palestra.app.build import table
from palestra.gateway.operation import Empty, Message, Operation


def hookable() -> Iterator[tuple[Operation | Message, str]]:
    """The operations and the names of their types."""
    for entry in table():
        if entry.hookable:
            feature, _, action = entry.name.partition(".")
            yield entry, feature.capitalize() + "".join(word.capitalize() for word in action.split("_"))


def answer_of(entry: Operation | Message) -> type:
    """What an after-hook sees: of a socket's reply its struct, and `Empty` for nothing."""
    said = typing.get_type_hints(entry.handler)["return"]
    kinds = [kind for kind in (typing.get_args(said) or (said,)) if kind not in (str, type(None))]
    (kind,) = {found for one in kinds for found in (typing.get_args(one)[1:] or (one,))} or {Empty}
    return kind


def test_hooks_find_the_type_of_their_request_under_the_operations_name() -> None:
    for entry, name in hookable():
        assert getattr(requests, name) is entry.request, entry.name


def test_hooks_find_the_type_of_their_response_under_the_operations_name() -> None:
    for entry, name in hookable():
        assert getattr(responses, name) is answer_of(entry), entry.name
    assert sorted(responses.__all__) == sorted({name for _, name in hookable()}) == sorted(requests.__all__)
