"""Named statements: the form of the file, and errors that say where it is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from palestra.database.queries import Queries, load_queries

GOOD = """-- Statements about players.

-- name: find_player
-- One player by id,
-- for the profile page.
SELECT *  -- every column; all of them
FROM players
WHERE id = $1;

-- name: forget_player
-- Remove a player.
DELETE FROM players WHERE id = $1;
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str) -> Queries:
        (tmp_path / "queries.sql").write_text(text)
        return load_queries(str(tmp_path / "store.py"))

    return load


def test_statements_and_descriptions_are_found_by_name(load) -> None:
    queries = load(GOOD)
    assert list(queries) == ["find_player", "forget_player"]
    assert queries["forget_player"] == "DELETE FROM players WHERE id = $1;"
    assert queries["find_player"].startswith("SELECT *") and queries["find_player"].endswith("WHERE id = $1;")
    assert queries.descriptions["find_player"] == "One player by id, for the profile page."


def test_an_unknown_name_gets_the_nearest_one_and_the_file(load) -> None:
    with pytest.raises(KeyError, match=r"queries\.sql has no statement named 'find_players'; did you mean 'find_pla"):
        load(GOOD)["find_players"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1;\n", r"queries\.sql:1: say what 'a' does"),
        ("-- name: a\n--\nSELECT 1;\n", r":1: say what 'a' does"),
        (GOOD + "\n-- name: find_player\n-- Again.\nSELECT 1;\n", r":14: there is a statement named 'find_player'"),
        ("SELECT 1;\n", r":1: a statement needs a line `-- name"),
        ("-- name: Find-It\n-- What.\nSELECT 1;\n", r":1: 'Find-It' is no name"),
        ("-- name: a\n-- What.\nSELECT 1\n", r":1: 'a' must end with a semicolon"),
        ("-- name: a\n-- What.\n", r":1: 'a' must end with a semicolon"),
        ("-- name: a\n-- What.\nSELECT 1;\nSELECT 2;\n", r":1: 'a' must be one statement"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_line(load, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load(text)
