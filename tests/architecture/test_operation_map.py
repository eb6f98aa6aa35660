"""The page that lists every operation says what the code does."""

from __future__ import annotations

from palestra.app.map import render
from tests.architecture.sources import ROOT


def test_the_operation_map_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "operations.md"
    assert page.is_file(), "write it with ./dev map --write"
    assert page.read_text(encoding="utf-8") == render(), "out of date: ./dev map --write brings it up to date"
