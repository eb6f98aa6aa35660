"""Snapshot and changes, applied in order, are the state: in both encodings, read by Python and by JavaScript."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.core.errors import SetupError
from palestra.sdk.shapes import quantised
from palestra.sdk.sync import (
    ASK_OP,
    CHANGES_OP,
    SNAPSHOT_OP,
    STATE_BYTES_MAX,
    Encoding,
    StateSync,
    StateTooLarge,
    SyncMessage,
    shape_for,
)
from palestra.testing.mirror import Mirror
from tests.client.browser import Browser, started

ENCODINGS: list[Encoding] = ["json", "binary"]


class Circle(msgspec.Struct, tag=True):
    x: Annotated[float, quantised(0.1)]


class Box(msgspec.Struct, tag=True):
    x: float
    side: int = 1


class Unit(msgspec.Struct):
    x: Annotated[float, quantised(0.01)]
    y: float
    name: str = ""
    target: Unit | None = None


class State(msgspec.Struct, rename="camel"):
    units: dict[str, Unit] = {}
    by_seat: dict[int, int] = {}
    board: list[list[int | None]] = []
    forms: list[Circle | Box] = []
    path: Annotated[list[tuple[float, float]], quantised(0.5)] = []
    turn: Literal["x", "o"] | None = None
    extra: Any = None


whole = st.integers(-(2**53) + 1, 2**53 - 1)
small = st.integers(-3, 300)
real = st.floats(-1e6, 1e6)
words = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(["__proto__", "x", "#", "0", "constructor"])
units = st.recursive(
    st.builds(Unit, real, real, words),
    lambda inner: st.builds(Unit, real, real, words, st.none() | inner),
    max_leaves=3,
)
anything = st.recursive(
    st.none() | whole | real | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "units": st.dictionaries(words, units, max_size=4),
    "by_seat": st.dictionaries(small, whole, max_size=3),
    "board": st.lists(st.lists(small | st.none(), max_size=3), max_size=4),
    "forms": st.lists(st.builds(Circle, real) | st.builds(Box, real, small), max_size=3),
    "path": st.lists(st.tuples(real, real), max_size=3),
    "turn": st.sampled_from(["x", "o", None]),
    "extra": anything,
}


@st.composite
def mutation(draw: st.DrawFn) -> tuple[str, Any, bool]:
    """(field, new value, whether to merge the new value into the old one where both are dicts)."""
    field = draw(st.sampled_from(sorted(FIELDS)))
    return field, draw(FIELDS[field]), draw(st.booleans())


def mutate(state: State, field: str, value: Any, merge: bool) -> None:
    old = getattr(state, field)
    if merge and isinstance(old, dict) and isinstance(value, dict):
        old.update(copy.deepcopy(value))
    elif merge and isinstance(old, list) and old and isinstance(value, list) and value:
        old[0] = copy.deepcopy(value[0])
    else:
        setattr(state, field, copy.deepcopy(value))


def rounded(value: float, steps: int) -> float:
    return round(value * steps) / steps


def unit(one: Unit) -> dict[str, Any]:
    target = None if one.target is None else unit(one.target)
    return {"x": rounded(one.x, 100), "y": one.y, "name": one.name, "target": target}


def form(one: Circle | Box) -> dict[str, Any]:
    if isinstance(one, Circle):
        return {"type": "Circle", "x": rounded(one.x, 10)}
    return {"type": "Box", "x": one.x, "side": one.side}


def expected(state: State) -> dict[str, Any]:
    """What clients have to see, by hand."""
    return {
        "units": {key: unit(one) for key, one in state.units.items()},
        "bySeat": {str(key): value for key, value in state.by_seat.items()},
        "board": state.board,
        "forms": [form(one) for one in state.forms],
        "path": [[rounded(value, 2) for value in point] for point in state.path],
        "turn": state.turn,
        "extra": state.extra,
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


def told(sync: StateSync, state: Any, session: str = "ada") -> list[SyncMessage]:
    """What one session is told."""
    return [one for one in sync.messages(["ada"], lambda _: state) if session in one.session_ids]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_follower_sees_every_state_as_it_is(encoding: Encoding, browser: Browser) -> None:
    @given(st.builds(State, **FIELDS), st.lists(st.lists(mutation(), min_size=1, max_size=3), max_size=6))
    @settings(max_examples=150, deadline=None)
    def follow(state: State, steps: list[list[tuple[str, Any, bool]]]) -> None:
        sync, mirror = StateSync(shape_for([State], encoding)), Mirror()
        browser.begin()
        seen: dict[str, Any] | None = None
        for step in [[], *steps]:
            for one in step:
                mutate(state, *one)
            for op_code, data, _ in told(sync, state):
                assert mirror.receive(op_code, data)
                seen = browser.receive(op_code, data)
            assert mirror.state == expected(state) and not mirror.behind
            assert seen is not None and seen["errors"] == []
            assert seen["state"] == expected(state)

    follow()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_did_not_change_is_not_sent(encoding: Encoding) -> None:
    sync, state = StateSync(shape_for([State], encoding)), State(units={"a": Unit(1.001, 2)})
    assert [one.op_code for one in told(sync, state)] == [SNAPSHOT_OP]
    assert told(sync, state) == []
    state.units["a"].x = 1.004  # less than a step away
    assert told(sync, state) == []
    state.units["a"].x = 1.006
    assert [one.op_code for one in told(sync, state)] == [CHANGES_OP]


def test_messages_look_as_the_reference_says() -> None:
    state = State(units={"a": Unit(1.5, 2)}, board=[[1, 2], [3]])
    as_json, as_binary = StateSync(shape_for([State], "json")), StateSync(shape_for([State], "binary"))
    (snapshot,) = told(as_json, state)
    assert snapshot.data.startswith(b'{"format":1,"version":0,"state":{"units":{"a":{"x":1.5,"y":2,')
    (packed,) = told(as_binary, state)
    keys = msgspec.msgpack.decode(packed.data, strict=False)["keys"]
    state.units["a"].x = 1.75
    state.units["b"] = Unit(0, 0)
    state.board[0] = [1]
    state.board[1][0] = 4
    (changes,) = told(as_json, state)
    assert changes.data == (
        b'[0,1,{"units":{"a":{"x":1.75},"b":[{"x":0.0,"y":0,"name":"","target":null}]},"board":{"0":{"#":1},"1":{"0":4}}}]'
    )
    (changes,) = told(as_binary, state)
    since, version, tree = msgspec.msgpack.decode(changes.data, strict=False)
    assert (since, version) == (0, 1)
    assert tree[keys.index("units")]["a"] == {keys.index(["x", 100]): 175}
    del state.units["a"], state.units["b"]
    (changes,) = told(as_json, state)
    assert changes.data == b'[1,2,{"units":{"a":[],"b":[]}}]'


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_follower_that_missed_a_message_asks_once_and_catches_up(encoding: Encoding, browser: Browser) -> None:
    sync, mirror, state = StateSync(shape_for([State], encoding)), Mirror(), State(by_seat={1: 0})
    browser.begin()
    for lost in (False, False, True, False, False):
        state.by_seat[1] += 1
        (message,) = told(sync, state)
        if not lost:
            mirror.receive(message.op_code, message.data)
            seen = browser.receive(message.op_code, message.data)
    assert mirror.behind and mirror.state["bySeat"] == seen["state"]["bySeat"] == {"1": 2}
    assert seen["asked"] == [["m.", ASK_OP, ""]] and seen["changes"] == 2
    sync.forget("ada")
    (message,) = told(sync, state)
    state.by_seat[1] += 1
    (after,) = told(sync, state)
    for one in (message, after):
        mirror.receive(one.op_code, one.data)
        seen = browser.receive(one.op_code, one.data)
    assert mirror.state == seen["state"] == expected(state) and not mirror.behind
    # A message from before the snapshot changes nothing and asks for nothing.
    (mirror.receive(CHANGES_OP, b"[0,1,{}]"), browser.receive(CHANGES_OP, b"[0,1,{}]"))
    assert not mirror.behind and len(seen["asked"]) == 1


def test_a_page_says_that_it_cannot_read_a_newer_format(browser: Browser) -> None:
    browser.begin()
    seen = browser.receive(SNAPSHOT_OP, b'{"format":2,"version":0,"state":{}}')
    assert (seen["taken"], seen["state"], seen["asked"]) == (True, None, [])
    assert "format 2" in seen["errors"][0]
    assert len(browser.receive(CHANGES_OP, b"[0,1,{}]")["errors"]) == 1
    assert browser.receive(7, b"hello")["taken"] is False


def test_a_page_asks_again_after_a_message_that_makes_no_sense(browser: Browser) -> None:
    browser.begin()
    browser.receive(SNAPSHOT_OP, b'{"format":1,"version":0,"state":{"a":1}}')
    for nonsense in (b'[0,1,{"a":{"b":2}}]', b"[0", b"\xd4\x01\x02", b"\xa5ab"):
        seen = browser.receive(CHANGES_OP, nonsense)
    assert (seen["state"], len(seen["asked"]), len(seen["errors"])) == ({"a": 1}, 1, 4)


class Hand(msgspec.Struct):
    cards: list[int]
    others: int


def test_players_see_only_their_view_and_equal_views_share_one_message() -> None:
    sync, hands = StateSync(shape_for([Hand], "json")), {"ada": [1, 2], "bob": [3]}

    def see(session: str) -> Hand:
        own = hands.get(session, [])
        return Hand(own, sum(map(len, hands.values())) - len(own))

    everybody = ["ada", "bob", "cid", "dan"]
    first = sync.messages(everybody, see)
    assert [one.session_ids for one in first] == [["ada"], ["bob"], ["cid", "dan"]]
    assert b'"cards":[3]' in first[1].data and b"3]" not in first[0].data
    hands["bob"].append(9)
    second = {tuple(one.session_ids): one.data for one in sync.messages(everybody, see)}
    assert second == {
        ("ada",): b'[0,1,{"others":2}]',
        ("bob",): b'[0,1,{"cards":{"1":9}}]',
        ("cid", "dan"): b'[0,1,{"others":4}]',
    }
    hands["ada"], hands["bob"] = [1], [3, 9, 4]
    third = {tuple(one.session_ids): one.data for one in sync.messages(["ada", "bob", "eve"], see)}
    assert third[("ada",)] == b'[1,2,{"cards":{"#":1},"others":3}]'
    assert third[("eve",)] == b'{"format":1,"version":2,"state":{"cards":[],"others":4}}'


def test_a_state_that_is_too_large_is_refused_with_its_size() -> None:
    sync = StateSync(shape_for([State], "binary"))
    with pytest.raises(StateTooLarge, match=f"at most {STATE_BYTES_MAX}"):
        told(sync, State(extra="x" * STATE_BYTES_MAX))


def test_numbers_that_no_step_can_hold_arrive_as_nothing() -> None:
    for encoding in ENCODINGS:
        sync, mirror = StateSync(shape_for([Circle], encoding)), Mirror()
        seen = []
        for x in (float("nan"), 1.0, float("inf"), -1e306, 1e308):
            for message in told(sync, Circle(x)):
                mirror.receive(message.op_code, message.data)
            seen.append(mirror.state["x"])
        assert seen == [None, 1.0, None, pytest.approx(-1e306), None]


class Mixed(msgspec.Struct):
    at: tuple[Annotated[float, quantised(0.1)], float]


class Counted(msgspec.Struct):
    at: Annotated[int, quantised(0.1)]


@pytest.mark.parametrize("kind", [Mixed, Counted])
def test_a_field_that_cannot_be_quantised_is_refused_at_once(kind: type) -> None:
    with pytest.raises(SetupError, match="quantised"):
        StateSync(shape_for([kind], "json"))


@pytest.mark.parametrize("step", [0, -1, 0.3, 2, float("nan")])
def test_a_step_divides_one(step: float) -> None:
    with pytest.raises(SetupError, match="1 divided by a whole number"):
        quantised(step)


def test_an_encoding_that_does_not_exist_is_refused() -> None:
    encoding: Any = "xml"
    with pytest.raises(SetupError, match="xml"):
        StateSync(shape_for([State], encoding))


def test_the_example_of_the_reference_is_true(browser: Browser) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/delta-sync.md").read_text()
    before, changes, after = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S))
    snapshot = msgspec.json.encode({"format": 1, "version": 41, "state": before})
    keys = ["turn", "units", ["x", 100], "hp", "board"]
    inside = {0: "bob", 1: {"9": [], "7": {2: 175}, "8": [{2: 400, 3: 9}]}, 4: {"#": 2, 0: {1: 5}}}
    numbered = {"format": 1, "version": 41, "keys": keys, "state": before}
    for first, second in (
        (snapshot, msgspec.json.encode(changes)),
        (msgspec.msgpack.encode(numbered), msgspec.msgpack.encode([41, 42, inside])),
    ):
        mirror = Mirror()
        browser.begin()
        mirror.receive(SNAPSHOT_OP, first), browser.receive(SNAPSHOT_OP, first)
        mirror.receive(CHANGES_OP, second)
        assert mirror.state == browser.receive(CHANGES_OP, second)["state"] == after
