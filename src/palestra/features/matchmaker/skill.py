"""Ratings of players after a match (openskill's Plackett-Luce model), and fair teams of those who were matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec

from palestra.core.errors import InvalidArgument
from palestra.features.matchmaker.contract import Entry

MU, SIGMA = 25.0, 25.0 / 3.0
STEPS_MAX = 4_000
"""Of the search for fair teams: exact up to ten tickets in two teams, and a few milliseconds at most."""


class Rating(msgspec.Struct, frozen=True):
    """What is known of a player's skill: the best guess, and how sure it is. New players have the defaults."""

    mu: float = MU
    sigma: float = SIGMA

    @property
    def skill(self) -> float:
        """The skill that is all but certain, `mu - 3 * sigma`: what to show and to rank by; 0 for new players."""
        return self.mu - 3 * self.sigma


class BadTeams(InvalidArgument):
    """Teams or ranks that cannot be."""


def rate(teams: Sequence[Sequence[Rating]], ranks: Sequence[float] = ()) -> list[list[Rating]]:
    """The ratings after a match, in the same order. `ranks` are places, the lowest the best, equal ones a draw.

    Without ranks the teams stand in the order of their places. 40 µs for five against five. Raises BadTeams.
    """
    if len(teams) < 2 or not all(teams):
        raise BadTeams("a match has two teams or more, each with a player or more")
    if ranks and len(ranks) != len(teams):
        raise BadTeams(f"there are {len(teams)} teams and {len(ranks)} ranks")
    model = _model()
    given = [[model.rating(one.mu, one.sigma) for one in team] for team in teams]
    places = [float(rank) for rank in ranks or range(len(teams))]
    return [[Rating(one.mu, one.sigma) for one in team] for team in model.rate(given, ranks=places)]


@cache
def _model() -> Any:
    # Games without ratings need not wait for it to load.
    from openskill.models import PlackettLuce

    return PlackettLuce(mu=MU, sigma=SIGMA)


class _Unit(msgspec.Struct, frozen=True):
    """Players who stay together."""

    entries: tuple[Entry, ...]
    skill: float

    @property
    def size(self) -> int:
        return len(self.entries)


def split_fair(entries: Iterable[Entry], teams: int = 2, property: str = "skill") -> list[list[Entry]]:
    """The players of a match in teams: as equal in number, then in mean skill, as may be. Tickets stay together.

    Skill is a numeric property; who has none counts as the average. The same players give the same teams, the strongest
    player's first. Raises BadTeams.
    """
    everybody = list(entries)
    if not 2 <= teams <= len(everybody):
        raise BadTeams(f"{len(everybody)} players do not make {teams} teams")
    best = _Split(_units(everybody, property), teams).best()
    return [[entry for unit in team for entry in unit.entries] for team in best]


def _units(everybody: list[Entry], property: str) -> list[_Unit]:
    """The tickets, the largest first, among equals the strongest."""
    known = [value for entry in everybody if isinstance(value := entry.properties.get(property), int | float)]
    average = sum(known) / len(known) if known else 0.0
    by_ticket: dict[str, list[Entry]] = {}
    for entry in everybody:
        by_ticket.setdefault(entry.ticket, []).append(entry)
    units: list[_Unit] = []
    for party in by_ticket.values():
        values = [entry.properties.get(property) for entry in party]
        units.append(_Unit(tuple(party), sum(v if isinstance(v, int | float) else average for v in values)))
    return sorted(units, key=lambda unit: (-unit.size, -unit.skill))


class _Split:
    """Gives each unit to a team, depth first and the weakest team first, and keeps the best that was found."""

    def __init__(self, units: list[_Unit], teams: int) -> None:
        self._units = units
        self._sizes = [0] * teams
        self._skills = [0.0] * teams
        self._team_of = [0] * len(units)
        self._best: list[int] = []
        self._best_value = (float("inf"), float("inf"))
        self._steps = 0

    def best(self) -> list[list[_Unit]]:
        self._give(0)
        teams: list[list[_Unit]] = [[] for _ in self._sizes]
        for unit, team in zip(self._units, self._best, strict=True):
            teams[team].append(unit)
        return teams

    def _give(self, number: int) -> None:
        self._steps += 1
        if number == len(self._units):
            means = [skill / (size or 1) for skill, size in zip(self._skills, self._sizes, strict=True)]
            value = (max(self._sizes) - min(self._sizes), max(means) - min(means))
            if value < self._best_value:
                self._best_value, self._best = value, list(self._team_of)
            return
        unit = self._units[number]
        tried: set[tuple[int, float]] = set()
        for team in sorted(range(len(self._sizes)), key=lambda team: (self._sizes[team], self._skills[team])):
            state = (self._sizes[team], self._skills[team])
            # Teams that are alike so far need not both be tried.
            if state in tried or (self._steps > STEPS_MAX and self._best):
                continue
            tried.add(state)
            self._team_of[number] = team
            self._sizes[team] += unit.size
            self._skills[team] += unit.skill
            self._give(number + 1)
            self._sizes[team], self._skills[team] = state
