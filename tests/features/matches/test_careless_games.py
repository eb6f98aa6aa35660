"""What careless game code does to a match stays in that match."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from palestra import Game, Match, MatchMessage
from tests.features.matches.games import Hall

game = Game("test")


class Nothing(msgspec.Struct):
    """There is nothing to remember."""


@game.match("careless", ticks_per_second=10)
class Careless(Match[Nothing]):
    """Sends to what is no player."""

    def init(self, wrong: str) -> Nothing:
        self.wrong = wrong
        return Nothing()

    def tick(self, messages: list[MatchMessage]) -> None:
        nobody: Any = "ann"
        if self.wrong == "to":
            self.broadcast(1, "hello", to=[nobody], deferred=True)
        elif self.wrong == "sender":
            self.broadcast(1, "hello", sender=nobody, deferred=True)


@pytest.mark.parametrize("wrong", ["to", "sender"])
async def test_a_message_to_what_is_no_player_ends_its_match_alone(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hall = Hall(game)
    bad = await hall.matches.create("careless", wrong)
    good = await hall.matches.create("careless", "nothing")
    (ann,) = await hall.enter(bad, "ann")
    await hall.tick(2)
    assert ann.closing
    assert [one.match_id for one in await hall.matches.list()] == [good]
    assert "not 'ann'" in capsys.readouterr().out
