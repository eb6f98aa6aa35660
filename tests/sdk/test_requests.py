"""Every operation that can be hooked has a request type of its name."""

from __future__ import annotations

import palestra.requests
from palestra.app.build import table


def test_hooks_find_the_type_of_their_request_under_the_operations_name() -> None:
    for entry in table():
        if not entry.hookable:
            continue
        feature, _, action = entry.name.partition(".")
        name = feature.capitalize() + "".join(word.capitalize() for word in action.split("_"))
        assert getattr(palestra.requests, name) is entry.request, entry.name
