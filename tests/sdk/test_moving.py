"""What of a match is written for another node, and which classes that is possible for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from palestra import Game, Match, MatchMessage
from palestra.core.errors import SetupError
from palestra.features.matches.contract import CannotMove
from palestra.sdk.moving import Moving


class Board(msgspec.Struct):
    """A state."""

    cells: list[int] = []
    owner: dict[str, int] = {}


class Plain(Match[Board]):
    """Its state says all, but for what is a plain value."""

    def init(self) -> Board:
        """Make the state."""
        return Board()

    def tick(self, messages: list[MatchMessage]) -> None:
        """Nothing happens."""


def match_of(code: type[Match[Any]], **attributes: Any) -> Any:
    """A match with these attributes."""
    match = code.__new__(code)
    vars(match).update(attributes)
    return match


def test_the_state_and_plain_values_beside_it_are_written_and_read() -> None:
    moving = Moving(Plain, Match, "here")
    written = moving.write(match_of(Plain, state=Board([1, 2], {"x": 3}), seats=4, word="w", _desk=object()))
    assert moving.read(written) == ({"seats": 4, "word": "w"}, Board([1, 2], {"x": 3}))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"state": Board(), "cache": {}}, "self.cache is not in self.state"),
        ({"state": Board(cells=[object()])}, "it cannot be written: TypeError"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_written_is_named(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CannotMove, match=reason):
        Moving(Plain, Match, "here").write(match_of(Plain, **attributes))


def test_what_another_code_has_written_is_not_taken_for_ones_own() -> None:
    with pytest.raises(CannotMove, match="it cannot be read"):
        Moving(Plain, Match, "here").read(msgspec.msgpack.encode(({}, {"cells": "none"})))


def test_a_class_has_snapshot_and_restore_or_neither() -> None:
    game = Game("half")
    half = type("Half", (Plain,), {"snapshot": lambda self: 1})
    with pytest.raises(SetupError, match="snapshot and restore go together"):
        game.match("half")(half)


def test_checkpoints_need_a_state_that_can_be_read_again() -> None:
    class Untyped(Match[Any]):
        """Nobody knows what it remembers."""

        init = Plain.init
        tick = Plain.tick

    with pytest.raises(SetupError, match=r"checkpoint_ticks needs snapshots: name the type of the state, Match\[State"):
        Game("untyped").match("untyped", checkpoint_ticks=10)(Untyped)
    Game("untyped").match("untyped")(Untyped)
