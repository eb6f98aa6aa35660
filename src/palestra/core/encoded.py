"""Things that are encoded once and shown many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

_encode = msgspec.json.Encoder().encode


class Watch(Protocol):
    """Knows whether what a thing was made of is still so."""

    def unchanged(self) -> bool:
        """Whether it is."""
        ...


def encoded(thing: Any, make: Callable[[], Any]) -> Any:
    """`make()` in JSON, as a `Raw` that is made once for each thing: a struct with `dict=True` that does not change."""
    kept = thing.__dict__
    json = kept.get("json")
    if json is None:
        json = kept["json"] = msgspec.Raw(_encode(make()))
    return json
