"""Whatever tickets come and go: matches keep all rules, and no match that could be made is left unmade."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palestra.features.matchmaker.pool import Ticket
from tests.features.matchmaker.waiting import Waiting

QUERIES = st.sampled_from(
    [
        "*",
        "+properties.region:eu",
        "properties.region:eu properties.region:us^2",
        "-properties.region:eu",
        "+properties.rank:>=2 +properties.rank:<4",
        "+properties.rank:<3",
        "+properties.region:us +properties.rank:>0",
    ]
)
PROPERTIES = st.fixed_dictionaries({}, optional={"region": st.sampled_from(["eu", "us"]), "rank": st.integers(0, 4)})
COUNTS = st.sampled_from([(2, 2, 1), (2, 4, 1), (3, 3, 1), (2, 3, 1), (2, 4, 2), (4, 4, 2), (3, 6, 3), (3, 5, 1)])
SESSIONS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), SESSIONS, COUNTS, QUERIES, PROPERTIES),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 6.0, 20.0])),
        st.tuples(st.just("remove"), st.integers(0, 12)),
        st.tuples(st.just("step")),
    ),
    max_size=14,
)


def accept(tickets: tuple[Ticket, ...], searcher: Ticket, mutual: bool) -> bool:
    if mutual:
        return all(a.query.score(b.document) is not None for a in tickets for b in tickets if a is not b)
    return all(searcher.query.score(b.document) is not None for b in tickets if b is not searcher)


def possible(tickets: tuple[Ticket, ...], mutual: bool) -> bool:
    """Whether the rules, written down as plainly as may be, allow this match."""
    sessions = [name for ticket in tickets for name in ticket.sessions]
    size = len(sessions)
    if len(tickets) < 2 or len(set(sessions)) < size:
        return False
    parties = [ticket.party_id for ticket in tickets if ticket.party_id]
    if len(set(parties)) < len(parties):
        return False
    if not all(t.least <= size <= t.most and size % t.multiple == 0 for t in tickets):
        return False
    return any(
        all(s.least <= t.least and t.most <= s.most for t in tickets)
        and (size == s.most or s.relaxed)
        and accept(tickets, s, mutual)
        for s in tickets
    )


def check_formed(queue: Waiting, mutual: bool, known: int) -> None:
    for group in queue.groups[known:]:
        assert possible(group.tickets, mutual)
        numbers = [ticket.number for ticket in group.tickets]
        assert numbers == sorted(numbers)
    taken = [ticket.number for group in queue.groups for ticket in group.tickets]
    assert len(set(taken)) == len(taken)


def play(events: list[Any], *, mutual: bool, sliced: bool) -> Waiting:
    queue = Waiting(interval_seconds=5, max_intervals=2, mutual_acceptance=mutual)
    for number, (what, *values) in enumerate(events):
        known = len(queue.groups)
        if what == "add":
            sessions, (least, most, multiple), query, properties = values
            party = f"p{number}" if len(sessions) > 1 else ""
            queue.add(sessions, least, most, query, party=party, multiple=multiple, **properties)
        elif what == "wait":
            queue.now += values[0]
        elif what == "remove":
            waiting = list(queue.engine.pool)
            if values[0] < len(waiting):
                queue.engine.remove(waiting[values[0]])
        if sliced:
            # One step of work between any two events, however little it is.
            queue.groups += queue.engine.step(queue.now, lambda: True)
        else:
            queue.run()
        check_formed(queue, mutual, known)
    known = len(queue.groups)
    queue.run()
    check_formed(queue, mutual, known)
    return queue


@given(EVENTS, st.booleans(), st.booleans())
def test_matches_keep_the_rules_and_none_is_left_unmade(events: list[Any], mutual: bool, sliced: bool) -> None:
    queue = play(events, mutual=mutual, sliced=sliced)
    waiting = list(queue.engine.pool)
    for size in range(2, min(len(waiting), 6) + 1):
        for tickets in combinations(waiting, size):
            assert not possible(tickets, mutual), [ticket.id for ticket in tickets]


@given(EVENTS)
def test_in_passes_too_matches_keep_the_rules(events: list[Any]) -> None:
    queue = Waiting(mode="interval", interval_seconds=5)
    for number, (what, *values) in enumerate(events):
        if what == "add":
            sessions, (least, most, multiple), query, properties = values
            party = f"p{number}" if len(sessions) > 1 else ""
            queue.add(sessions, least, most, query, party=party, multiple=multiple, **properties)
        elif what == "wait":
            known = len(queue.groups)
            queue.after(values[0])
            check_formed(queue, True, known)


@given(st.lists(st.tuples(QUERIES, PROPERTIES), min_size=2, max_size=12))
def test_of_two_tickets_that_are_alike_the_older_is_never_left_behind(tickets: list[Any]) -> None:
    queue = Waiting()
    for number, (query, properties) in enumerate(tickets):
        queue.add(f"s{number}", query=query, **properties)
        queue.run()
    for left in queue.engine.pool:
        for group in queue.groups:
            for ticket in group.tickets:
                alike = ticket.asked == left.asked and ticket.properties == left.properties
                assert not alike or ticket.number < left.number
