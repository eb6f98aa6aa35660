"""Cursors: positions go out as URL-safe text and come back; anything else is refused."""

from __future__ import annotations

import msgspec
import pytest

from palestra.core.cursors import CURSOR_CHARS_MAX, open_cursor, seal_cursor


class Place(msgspec.Struct, frozen=True, tag="place"):
    row: int
    name: str


class Other(msgspec.Struct, frozen=True, tag="other"):
    row: int
    name: str


def test_a_position_comes_back_from_text_that_needs_no_escape() -> None:
    place = Place(2**62, "ünï/+? \x00")
    text = seal_cursor(place)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert open_cursor(text, Place) == place


@pytest.mark.parametrize("text", ["", "garbage", "é", "a b", "=", "%3D", seal_cursor(Other(1, "x")), "A" * 5000])
def test_what_is_no_cursor_of_the_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        open_cursor(text, Place)


def test_a_cursor_that_is_cut_or_too_long_is_refused() -> None:
    text = seal_cursor(Place(1, "somewhere"))
    for cut in range(1, len(text)):
        with pytest.raises(ValueError):
            open_cursor(text[:cut], Place)
    with pytest.raises(ValueError):
        open_cursor(seal_cursor(Place(1, "x" * CURSOR_CHARS_MAX)), Place)
