"""Ratings after a match, and fair teams."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.features.matchmaker.contract import Entry
from palestra.features.streams.contract import Presence
from palestra.matchmaking import BadTeams, Rating, rate, split_fair


def test_winners_rise_and_losers_fall() -> None:
    (won,), (lost,) = rate([[Rating()], [Rating()]])
    assert won.mu > Rating().mu > lost.mu
    assert won.sigma < Rating().sigma
    assert won.skill > 0 > lost.skill


def test_ranks_say_who_won() -> None:
    first, second, third = (team[0] for team in rate([[Rating()], [Rating()], [Rating()]], ranks=[3, 1, 3]))
    assert second.mu > first.mu == pytest.approx(third.mu)


def test_an_upset_moves_more_than_what_was_expected() -> None:
    strong, weak = Rating(30, 3), Rating(20, 3)
    (expected,), _ = rate([[strong], [weak]])
    (upset,), _ = rate([[weak], [strong]])
    assert upset.mu - weak.mu > expected.mu - strong.mu


@pytest.mark.parametrize(("teams", "ranks"), [([[Rating()]], []), ([[Rating()], []], []), ([[Rating()]] * 2, [1])])
def test_teams_that_cannot_be_are_refused(teams: list[list[Rating]], ranks: list[int]) -> None:
    with pytest.raises(BadTeams):
        rate(teams, ranks)


def entry(name: str, skill: float | None, ticket: str = "") -> Entry:
    properties = {} if skill is None else {"skill": skill}
    return Entry(ticket or name, Presence(name, name, name), properties, "", 0.0)


def total(team: list[Entry]) -> float:
    return sum(float(one.properties["skill"]) for one in team)


@given(st.lists(st.integers(0, 3000), min_size=4, max_size=10).filter(lambda skills: len(skills) % 2 == 0))
def test_two_teams_of_single_players_are_as_fair_as_can_be(skills: list[int]) -> None:
    everybody = [entry(f"p{number}", skill) for number, skill in enumerate(skills)]
    first, second = split_fair(everybody)
    assert len(first) == len(second)
    half = len(skills) // 2
    best = min(abs(2 * sum(team) - sum(skills)) for team in combinations(skills, half))
    assert abs(total(first) - total(second)) == pytest.approx(best)


def test_parties_stay_together_and_teams_are_equal_in_number() -> None:
    everybody = [entry(f"a{n}", 900, "a") for n in range(3)] + [entry(f"p{n}", n * 100) for n in range(7)]
    teams = split_fair(everybody)
    assert [len(team) for team in teams] == [5, 5]
    assert any({"a0", "a1", "a2"} <= {one.presence.user_id for one in team} for team in teams)


def test_who_has_no_skill_counts_as_the_average() -> None:
    teams = split_fair([entry("a", 100), entry("b", 0), entry("c", None), entry("d", 50)])
    assert {frozenset(one.ticket for one in team) for team in teams} in (
        {frozenset("ab"), frozenset("cd")},
        {frozenset("ac"), frozenset("bd")},
        {frozenset("ad"), frozenset("bc")},
    )
    assert teams == split_fair([entry("a", 100), entry("b", 0), entry("c", None), entry("d", 50)])


def test_many_players_are_split_in_bounded_time() -> None:
    everybody = [entry(f"p{number}", (number * 7919) % 3000) for number in range(100)]
    teams = split_fair(everybody, teams=4)
    assert [len(team) for team in teams] == [25] * 4
    means = [total(team) / 25 for team in teams]
    assert max(means) - min(means) < 60


def test_there_are_no_more_teams_than_players() -> None:
    with pytest.raises(BadTeams):
        split_fair([entry("a", 1)])
