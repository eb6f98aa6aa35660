"""The page that lists the settings names every key of the code, with its default."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from palestra.core.config import Settings, keys
from tests.architecture.sources import ROOT

_ROW = re.compile(r"^\| `([a-z_.]+)` \| (?:`([^`]*)`|–) \|", re.MULTILINE)


def default_of(key: str) -> str:
    """A default as the page shows it: "" where there is none."""
    value: Any = msgspec.to_builtins(Settings())
    for part in key.split("."):
        value = value[part]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value) if value or isinstance(value, int | float) else ""


def test_every_setting_stands_in_the_reference_with_its_default() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    shown = dict(_ROW.findall(page))
    assert shown == {key: default_of(key) for key in keys()}
