"""Who is matched with whom, when, and in which order."""

from __future__ import annotations

import pytest

from palestra.core.query import parse
from palestra.features.matchmaker.contract import Drop, Window
from palestra.features.matchmaker.engine import Backfill
from tests.features.matchmaker.waiting import Waiting


def test_a_pair_forms_at_once() -> None:
    queue = Waiting()
    queue.add("a")
    assert queue.run() == []
    queue.add("b")
    assert queue.run() == [["a", "b"]]
    assert queue.waiting() == []


def test_the_longest_waiting_fitting_ticket_is_taken_first() -> None:
    queue = Waiting()
    for name in ("a", "b", "c"):
        queue.add(name, query="+properties.role:healer", role="fighter")
    assert queue.run() == []
    queue.add("h1", query="+properties.role:fighter", role="healer")
    queue.add("h2", query="+properties.role:fighter", role="healer")
    assert queue.run() == [["a", "h1"], ["b", "h2"]]
    assert queue.waiting() == ["c"]


def test_who_comes_chooses_by_boosts_before_age() -> None:
    queue = Waiting()
    queue.add("a", query="+properties.role:z", role="x", map="desert")
    queue.add("b", query="+properties.role:z", role="x", map="ice")
    assert queue.run() == []
    queue.add("c", query="+properties.role:x properties.map:ice^2", role="z")
    assert queue.run() == [["b", "c"]]


def test_acceptance_is_mutual() -> None:
    queue = Waiting()
    queue.add("a", query="+properties.rank:<10", rank=50)
    queue.add("b", query="+properties.rank:<10", rank=5)
    assert queue.after(100) == []
    queue.add("c", query="+properties.rank:>40", rank=5)
    assert queue.run() == [["a", "c"]]


def test_without_mutual_acceptance_the_searching_ticket_decides() -> None:
    queue = Waiting(mutual_acceptance=False)
    queue.add("a", query="+properties.rank:<10", rank=50)
    queue.add("b", query="+properties.rank:<10", rank=5)
    assert queue.run() == [["a", "b"]]
    queue.add("c", query="+properties.rank:<10", rank=5)
    queue.add("d", query="+properties.rank:<1", rank=5)
    assert queue.run() == [["c", "d"]]


def test_the_largest_match_is_awaited_then_fewer_are_enough() -> None:
    queue = Waiting(interval_seconds=15, max_intervals=2)
    queue.add("a", 2, 4)
    queue.now = 5
    queue.add("b", 2, 4)
    queue.add("c", 2, 4)
    assert queue.after(9.9) == []
    assert queue.after(0.2) == [["a", "b", "c"]]
    for name in ("d", "e", "f"):
        queue.add(name, 2, 4)
    assert queue.run() == []
    queue.add("g", 2, 4)
    assert queue.run() == [["d", "e", "f", "g"]]


def test_a_relaxed_ticket_takes_who_comes() -> None:
    queue = Waiting()
    queue.add("a", 2, 8)
    assert queue.after(60) == []
    queue.add("b", 2, 4)
    assert queue.run() == [["a", "b"]]


def test_counts_must_lie_within_those_of_the_searching_ticket() -> None:
    queue = Waiting()
    queue.add("a", 2, 3)
    queue.add("b", 3, 4)
    queue.add("c", 3, 3)
    assert queue.run() == []
    assert queue.after(100) == []
    queue.add("d", 2, 3)
    assert queue.run() == [["a", "c", "d"]]


def test_multiples_hold_and_the_longest_waiting_are_kept() -> None:
    queue = Waiting()
    for name in ("a", "b", "c"):
        queue.add(name, 2, 6, multiple=2)
    assert queue.after(15.1) == [["a", "b"]]
    assert queue.waiting() == ["c"]


def test_parties_stay_together_and_sizes_are_made_to_fit() -> None:
    queue = Waiting()
    queue.add(["a1", "a2", "a3"], 5, 5, party="a")
    queue.add(["b1", "b2", "b3"], 5, 5, party="b")
    queue.add("c", 5, 5)
    assert queue.run() == []
    queue.add(["d1", "d2"], 5, 5, party="d")
    assert queue.run() == [["a1", "a2", "a3", "d1", "d2"]]
    queue.add("e", 5, 5)
    assert queue.run() == [["b1", "b2", "b3", "c", "e"]]


def test_a_party_alone_is_no_match() -> None:
    queue = Waiting()
    queue.add(["a", "b"], 2, 2, party="p")
    queue.add(["c", "d"], 2, 4, party="q")
    assert queue.after(100) == []


def test_a_session_is_in_a_match_once() -> None:
    queue = Waiting()
    queue.add("a")
    queue.add("a", 2, 4)
    queue.add("a", query="properties.x:1 -properties.y:2")
    assert queue.after(100) == []
    queue.add("b")
    assert len(queue.run()) == 1


def test_one_choice_is_taken_back_when_the_rest_does_not_fit() -> None:
    queue = Waiting()
    # a fits both, but they refuse each other: the first choice, b, leads nowhere.
    queue.add("b", 3, 3, "+properties.k:1", k=1)
    queue.add("c", 3, 3, "+properties.k:2", k=2)
    queue.add("d", 3, 3, "+properties.k:2", k=2)
    queue.add("a", 3, 3, "*", k=2)
    assert queue.run() == [["c", "d", "a"]]


def test_a_search_that_is_interrupted_goes_on() -> None:
    queue = Waiting()
    for number in range(50):
        queue.add(f"x{number}", query=f"+properties.k:{number}", k=-1)
    queue.run()
    gone = queue.add("gone", query="properties.k:77 properties.j:1", k=78, j=0)
    queue.run()
    queue.add("a", query="properties.k:78 properties.k:49", k=77)
    steps = 0
    while queue.engine.next_at() == 0:
        steps += 1
        queue.groups += queue.engine.step(0, lambda: True)
        if steps == 2:
            queue.engine.remove(gone)
    assert steps > 2
    assert queue.groups == []


# -- relaxing


def test_a_dropped_field_matters_no_more_after_its_time() -> None:
    queue = Waiting()
    queue.engine.relax_by([Drop(5, "properties.region")], 0)
    queue.add("a", query="+properties.region:eu +properties.mode:duel", region="eu", mode="duel")
    queue.add("b", query="+properties.region:us +properties.mode:duel", region="us", mode="duel")
    queue.add("c", query="+properties.mode:coop", region="eu", mode="coop")
    assert queue.after(4.9) == []
    assert queue.after(0.2) == [["a", "b"]]
    assert queue.waiting() == ["c"]


def test_a_window_of_skill_widens_step_by_step() -> None:
    queue = Waiting()
    queue.engine.relax_by([Window("skill", start=50, step=50, every_seconds=5, most=150)], 0)
    queue.add("a", skill=1000)
    queue.add("b", skill=1120)
    queue.add("c")
    queue.add("d", skill=1400)
    assert queue.after(9.9) == []
    assert queue.after(0.2) == [["a", "b"]]
    assert queue.after(1000) == []
    queue.add("e", skill=1251)
    assert queue.after(9) == []
    assert queue.after(2) == [["d", "e"]]
    queue.add("f")
    assert queue.run() == [["c", "f"]]


def test_new_rules_of_a_reloaded_game_apply_to_who_waits() -> None:
    queue = Waiting()
    queue.add("a", query="+properties.region:eu", region="eu")
    queue.add("b", query="+properties.region:us", region="us")
    assert queue.after(60) == []
    queue.engine.relax_by([Drop(5, "properties.region")], queue.now)
    assert queue.run() == [["a", "b"]]


# -- running matches


def backfill(query: str = "*", open: int = 2, full: int = 4, until: float = 60) -> Backfill:
    return Backfill("b", "m.node", parse(query), {"properties.mode": ["duel"]}, open, full, until)


def test_a_running_match_takes_who_waits_and_who_comes() -> None:
    queue = Waiting()
    queue.add("a", 2, 3)
    queue.add("b", 2, 4, "+properties.mode:duel")
    queue.add("c", 2, 4, "+properties.mode:coop")
    queue.run()
    queue.engine.add_backfill(backfill())
    assert queue.run() == [["b"]]
    queue.add(["d1", "d2"], 2, 4, "-properties.x:1", party="p")
    assert queue.run() == []
    queue.add("e", 4, 4, "+properties.mode:duel")
    assert queue.run() == [["e"]]
    assert {group.match_id for group in queue.groups} == {"m.node"}
    assert queue.engine.backfills == {}
    queue.add("f", 4, 4, "+properties.mode:duel")
    assert queue.run() == []


def test_a_running_match_takes_nobody_after_its_time() -> None:
    queue = Waiting()
    queue.engine.add_backfill(backfill(until=60))
    assert queue.after(61) == []
    queue.add("a", 2, 4)
    assert queue.run() == []
    assert queue.engine.backfills == {}


# -- the classic way


def test_in_passes_a_pair_forms_at_the_next_pass() -> None:
    queue = Waiting(mode="interval", interval_seconds=15)
    queue.add("a")
    queue.now = 10
    queue.add("b")
    assert queue.after(4.9) == []
    assert queue.after(0.2) == [["a", "b"]]
    assert queue.after(500) == []
    queue.add("c")
    queue.add("d")
    assert queue.after(14.9) == []
    assert queue.after(0.2) == [["c", "d"]]


def test_in_passes_fewer_are_taken_at_the_last_one_and_then_a_ticket_only_waits() -> None:
    queue = Waiting(mode="interval", interval_seconds=15, max_intervals=2)
    queue.add("a", 2, 4)
    queue.add("b", 2, 4)
    queue.add("c", 2, 4)
    assert queue.after(15.1) == []
    assert queue.after(15) == [["a", "b", "c"]]
    queue.add("d", 2, 4)
    assert queue.after(60) == []
    queue.add("e", 2, 2)
    assert queue.after(60) == []
    queue.add("f", 2, 5)
    assert queue.after(14) == []
    assert queue.after(17) == [["d", "f"]]


@pytest.mark.parametrize("mode", ["immediate", "interval"])
def test_nothing_is_due_when_nobody_waits(mode: str) -> None:
    queue = Waiting(mode=mode)
    assert queue.engine.next_at() is None
    queue.add("a")
    queue.add("b")
    queue.after(100)
    assert queue.engine.next_at() is None
