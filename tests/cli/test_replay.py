"""`palestra replay`: same, different, broken, and no record at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from palestra.cli.main import app
from palestra.core.config import MatchSettings
from palestra.core.errors import SetupError
from palestra.sdk.loader import load_games
from tests.features.matches.games import Hall

MODULE = """
import msgspec
from palestra import Game, Match

game = Game("dice")

class Sum(msgspec.Struct):
    total: int = 0

@game.match("dice", record=True)
class Dice(Match[Sum]):
    def init(self):
        return Sum()

    def tick(self, messages):
        self.state.total += self.random.randint(1, 6)
"""


@pytest.fixture
async def record(tmp_path: Path) -> Path:
    """The record of 25 ticks of a match; its module is beside it."""
    module = tmp_path / "dice.py"
    module.write_text(MODULE)
    hall = Hall(*load_games([module]), settings=MatchSettings(record_dir=str(tmp_path)))
    await hall.matches.create("dice")
    await hall.tick(25)
    await hall.running.drain(0)
    (file,) = tmp_path.glob("dice-*.ndjson")  # noqa: ASYNC240 - a test
    return file


def test_the_same_code_gives_the_same_states(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["replay", str(record)]) == 0
    told = capsys.readouterr().out
    assert "25 ticks run, 3 states compared" in told
    assert "the same as recorded" in told


def test_other_code_is_named_with_the_first_tick_that_differs(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(MODULE.replace("6)", "60)"))
    assert app(["replay", str(record), str(other)]) == 1
    told = capsys.readouterr().out
    assert "has changed since this match was played" in told
    assert "differs after tick 10: the state is not that of the record" in told


def test_a_match_that_asks_for_the_platform_says_that_a_replay_has_none(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(MODULE.replace("self.random", "self.ctx.random"))
    assert app(["replay", str(record), str(other)]) == 1
    told = capsys.readouterr().out
    assert "a replay has no platform: give the match what it needs from ctx as parameters or by signal" in told
    assert 'File "' in told and "other.py" in told


def test_a_record_that_breaks_off_is_compared_as_far_as_it_goes(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_bytes(record.read_bytes()[:-40])
    assert app(["replay", str(record)]) == 0
    assert "the record breaks off: the node was stopped suddenly" in capsys.readouterr().out


def test_what_is_no_record_or_not_there_is_said(record: Path, tmp_path: Path) -> None:
    for file, told in ((tmp_path / "dice.py", "no record of a match"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(SetupError, match=told):
            app(["replay", str(file)])
    nothing = tmp_path / "nothing.py"
    nothing.write_text('from palestra import Game\ngame = Game("none")\n')
    with pytest.raises(SetupError, match=r"there is no @game.match\('dice'\)"):
        app(["replay", str(record), str(nothing)])
