"""Matches of the wrong shape are refused where they are declared, and types are read for parameters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from palestra import Game, Match, MatchMessage, MatchPlayer
from palestra.core.errors import SetupError
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime


class Empty(msgspec.Struct):
    """No state to speak of."""


class Good(Match[Empty]):
    """As it should be."""

    def init(self) -> Empty:
        return Empty()

    def tick(self, messages: list[MatchMessage]) -> None: ...


class NoInit(Match[Empty]):
    def tick(self, messages: list[MatchMessage]) -> None: ...


class NoTick(Match[Empty]):
    def init(self) -> Empty:
        return Empty()


class OddTick(Good):
    def tick(self) -> None: ...  # type: ignore[override]


class OddJoin(Good):
    def join(self, *players: MatchPlayer) -> None: ...  # type: ignore[override]


class OddParams(Good):
    def init(self, params: Game) -> Empty:  # type: ignore[override]
        return Empty()


class UnknownParams(Good):
    def init(self, params: Missing) -> Empty:  # type: ignore[name-defined, override] # noqa: F821
        return Empty()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (NoInit, r"it needs a method init\(self, params\)"),
        (NoTick, r"it needs a method tick\(self, messages\)"),
        (OddTick, r"tick takes \(self, messages\)"),
        (OddJoin, r"join takes \(self, players\)"),
        (OddParams, "the type of init's 'params' cannot be read"),
        (UnknownParams, "the type of init's 'params' cannot be read: name 'Missing' is not defined"),
    ],
)
def test_a_match_of_the_wrong_shape_is_refused_with_its_place(code: Any, told: str) -> None:
    with pytest.raises(SetupError, match=told) as refused:
        Game("wrong").match("arena")(code)
    assert code.__name__ in str(refused.value)


@pytest.mark.parametrize("ticks", [0, 61, -1])
def test_a_match_ticks_one_to_sixty_times_a_second(ticks: int) -> None:
    with pytest.raises(SetupError, match="ticks_per_second is 1 to 60"):
        Game("wrong").match("arena", ticks_per_second=ticks)(Good)


def test_what_is_no_class_of_match_is_no_match_and_two_of_a_name_are_one_too_many() -> None:
    game, other, nothing = Game("one"), Game("two"), Any
    with pytest.raises(SetupError, match="stands above a class"):
        game.match("arena")(nothing)
    with pytest.raises(SetupError, match=r'needs the name of the match: @game.match\("arena"\)'):
        game.match(nothing)
    with pytest.raises(SetupError, match="1 to 128 characters"):
        game.match("")(Good)
    game.match("arena")(Good)
    with pytest.raises(SetupError, match="'arena' is already the name of Good"):
        game.match("arena")(Good)
    other.match("arena")(Good)
    with pytest.raises(SetupError, match="'arena' is already the name of Good"):
        Runtime(Bounds(1.0)).check([game, other])
