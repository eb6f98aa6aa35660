"""From seeds to values: fixed vectors, every case of a small rejection, distributions, refusals."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.core.cursors import seal_cursor
from palestra.features.fair import rules
from palestra.features.fair.contract import (
    ITEMS_MAX,
    NONCE_MAX,
    NUMBER_MAX,
    VERIFY_ITEMS_MAX,
    VERIFY_STEPS_MAX,
    BadDraw,
    BadPage,
    BadSeed,
    Step,
)
from palestra.features.fair.rules import SeededDraw

SEED = bytes(range(32))
COMMITMENT = "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"


def draw(nonce: int = 0, client_seed: str = "lucky seven", seed: bytes = SEED) -> SeededDraw:
    return SeededDraw(seed, client_seed, nonce, rules.commitment_of(seed).hex())


def chi_square(found: Counter[Any], expected: dict[Any, float]) -> float:
    assert set(found) <= set(expected)
    return sum((found[key] - wanted) ** 2 / wanted for key, wanted in expected.items())


# -- the algorithm never changes under its name


def test_the_values_of_known_seeds_stay_what_they_are() -> None:
    one = draw()
    assert one.commitment == COMMITMENT
    assert (one.algorithm, one.client_seed, one.nonce) == ("palestra-fair-1", "lucky seven", 0)
    assert one.below(6) == 3
    assert one.between(-5, 5) == 4
    assert one.fraction() == 0.4312687426528935
    assert one.dice(2, 6) == [3, 6]
    assert one.weighted({"common": 70, "rare": 25, "epic": 5}) == "common"
    assert one.shuffle("abcde") == ["a", "c", "b", "d", "e"]
    other = draw(1)
    assert "".join(other.shuffle("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == "NPMLFRDQWCUYATEXHIJSVOKBZG"
    assert other.below(NUMBER_MAX) == 4377300888633574


def test_words_are_the_quarters_of_consecutive_blocks_most_significant_byte_first() -> None:
    one = draw(7, "a:b")
    blocks = b"".join(hmac.new(SEED, f"a:b:7:{n}".encode(), hashlib.sha256).digest() for n in range(3))
    words = [int.from_bytes(blocks[start : start + 8], "big") for start in range(0, 96, 8)]
    assert [one.fraction() for _ in words] == [(word >> 11) / 2**53 for word in words]


def test_every_part_of_the_seeds_changes_the_values() -> None:
    first = [draw().below(NUMBER_MAX)]
    others = [draw(1), draw(client_seed="lucky seveN"), draw(seed=bytes(32))]
    assert len({*first, *(one.below(NUMBER_MAX) for one in others)}) == 4


def test_a_draw_does_not_show_its_server_seed() -> None:
    assert SEED.hex() not in repr(draw())
    assert repr(SEED) not in repr(draw())


# -- no number is likelier than another


@pytest.mark.parametrize("n", range(1, 257))
def test_each_number_has_equally_many_words_and_less_than_half_are_rejected(n: int) -> None:
    found = Counter(rules.accepted(word, n, words=256) for word in range(256))
    rejected = found.pop(None, 0)
    assert set(found) == set(range(n))
    assert len(set(found.values())) == 1
    assert rejected < min(n, 129)


@given(st.integers(1, NUMBER_MAX))
def test_rejection_starts_at_the_last_whole_multiple(n: int) -> None:
    limit = rules.WORDS - rules.WORDS % n
    assert rules.accepted(limit - 1, n) == n - 1
    assert limit == rules.WORDS or rules.accepted(limit, n) is None
    assert rules.WORDS - limit < n


def test_a_rejected_word_is_replaced_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    words = iter([2**64 - 1, 2**64 - 1, 5])
    monkeypatch.setattr(SeededDraw, "_word", lambda self: next(words))
    # 2**64 is one more than a multiple of three: the highest word is rejected, twice here.
    assert draw().below(3) == 2
    assert list(words) == []


@pytest.mark.parametrize(
    ("make", "expected", "limit"),
    [
        (lambda one: one.below(6), dict.fromkeys(range(6), 1 / 6), 20.5),
        (lambda one: one.between(-3, 3), dict.fromkeys(range(-3, 4), 1 / 7), 22.5),
        (lambda one: int(one.fraction() * 10), dict.fromkeys(range(10), 0.1), 27.9),
        (lambda one: sum(one.dice(2, 6)), {n: (6 - abs(7 - n)) / 36 for n in range(2, 13)}, 29.6),
        (lambda one: one.weighted({"a": 1, "b": 2, "c": 7}), {"a": 0.1, "b": 0.2, "c": 0.7}, 13.8),
        (lambda one: "".join(one.shuffle("abcd")), {"".join(p): 1 / 24 for p in permutations("abcd")}, 49.7),
        (lambda one: one.pick("xyz"), dict.fromkeys("xyz", 1 / 3), 13.8),
    ],
    ids=["below", "between", "fraction", "dice", "weighted", "shuffle", "pick"],
)
def test_values_are_spread_as_they_should_be(
    make: Callable[[SeededDraw], Any], expected: dict[Any, float], limit: float
) -> None:
    # Seeds are fixed, so this cannot fail by chance; the limits are those that chance passes once in a thousand times.
    found = Counter(make(draw(nonce)) for nonce in range(6_000))
    assert chi_square(found, {key: share * 6_000 for key, share in expected.items()}) < limit


# -- properties

seeds = st.binary(min_size=32, max_size=32)
client_seeds = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
nonces = st.integers(0, NONCE_MAX)


@given(seeds, client_seeds, nonces, st.integers(1, NUMBER_MAX), st.lists(st.integers(), max_size=60))
def test_values_lie_in_their_range_and_repeat(
    seed: bytes, client_seed: str, nonce: int, n: int, items: list[int]
) -> None:
    one, same = (SeededDraw(seed, client_seed, nonce, "") for _ in range(2))
    assert 0 <= one.below(n) < n
    assert 0 <= one.fraction() < 1
    assert sorted(one.shuffle(items)) == sorted(items)
    assert all(1 <= face <= n for face in one.dice(3, n))
    same.below(n), same.fraction(), same.shuffle(items), same.dice(3, n)
    assert one.below(NUMBER_MAX) == same.below(NUMBER_MAX)


@given(seeds, st.integers(-NUMBER_MAX, NUMBER_MAX), st.integers(0, NUMBER_MAX - 1))
def test_between_includes_both_ends_and_nothing_beyond(seed: bytes, low: int, more: int) -> None:
    high = min(low + more, NUMBER_MAX)
    assert low <= SeededDraw(seed, "c", 0, "").between(low, high) <= high


@given(seeds, st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any))
def test_weights_choose_as_the_number_below_their_sum_says(seed: bytes, weights: list[int]) -> None:
    place = SeededDraw(seed, "c", 0, "").weighted_index(weights)
    drawn = SeededDraw(seed, "c", 0, "").below(sum(weights))
    assert sum(weights[:place]) <= drawn < sum(weights[: place + 1])


# -- refusals


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda one: one.below(0), "from 1 to 9007199254740992 numbers, not from 0"),
        (lambda one: one.below(-1), "not from -1"),
        (lambda one: one.below(NUMBER_MAX + 1), "numbers, not from 9007199254740993"),
        (lambda one: one.below(6.0), "whole numbers, not 6.0"),
        (lambda one: one.below(True), "whole numbers, not True"),
        (lambda one: one.between(2, 1), "no number between 2 and 1"),
        (lambda one: one.between(-NUMBER_MAX, NUMBER_MAX), "numbers, not from"),
        (lambda one: one.between(0, NUMBER_MAX + 1), "Bounds lie between"),
        (lambda one: one.between("a", 1), "whole numbers, not 'a'"),
        (lambda one: one.pick([]), "1 to 65536 items to pick from, not 0"),
        (lambda one: one.weighted({"a": 0.5, "b": 0.5}), "whole numbers, not 0.5: floats would round the odds"),
        (lambda one: one.weighted({"a": 2, "b": -1}), "0 or more, not -1"),
        (lambda one: one.weighted({"a": 0}), "add up to 1 to"),
        (lambda one: one.weighted({"a": NUMBER_MAX, "b": 1}), "add up to 1 to"),
        (lambda one: one.weighted({}), "weights, not 0"),
        (lambda one: one.dice(-1, 6), "0 to 65536 dice, not -1"),
        (lambda one: one.dice(ITEMS_MAX + 1, 6), "dice, not 65537"),
        (lambda one: one.dice(1, 0), "not from 0"),
        (lambda one: one.shuffle(range(ITEMS_MAX + 1)), "items to shuffle, not 65537"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_takes_no_word(ask: Callable[[Any], Any], says: str) -> None:
    one = draw()
    with pytest.raises(BadDraw) as refused:
        ask(one)
    assert says in refused.value.message
    assert one.below(6) == 3


def test_a_weight_of_zero_is_never_drawn() -> None:
    assert {draw(nonce).weighted({"never": 0, "a": 1, "nor": 0, "b": 1, "at last": 0}) for nonce in range(200)} == {
        "a",
        "b",
    }


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, " " + "0" * 63, "0x" + "0" * 62, "é" * 64])
def test_a_server_seed_is_64_hex_digits(text: str) -> None:
    assert rules.server_seed_of("0123456789abcDEF" * 4) == bytes.fromhex("0123456789abcdef" * 4)
    with pytest.raises(BadSeed, match="64 hex digits"):
        rules.server_seed_of(text)


@pytest.mark.parametrize("text", ["", "a" * 65, " a", "a ", "tab\t", "nul\0", "é", "half \ud83d", "\x7f"])
def test_a_client_seed_is_short_printable_ascii(text: str) -> None:
    for fine in ("a", "a" * 64, "with blanks: and ~ signs"):
        rules.check_client_seed(fine)
    with pytest.raises(BadSeed, match="1 to 64 printable ASCII"):
        rules.check_client_seed(text)


@pytest.mark.parametrize(
    "cursor", ["?", seal_cursor(rules.Position(0)), seal_cursor(rules.Position(2**40)), "a" * 9999]
)
def test_a_cursor_that_was_not_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(BadPage):
        rules.position_of(cursor)


# -- verification


def test_steps_are_worked_out_as_the_draw_itself_does() -> None:
    steps = [
        Step("below", n=6),
        Step("between", low=-5, high=5),
        Step("fraction"),
        Step("dice", count=2, sides=6),
        Step("weighted", weights=[70, 25, 5]),
        Step("shuffle", n=5),
    ]
    assert rules.values_of(draw(), steps) == [3, 4, 0.4312687426528935, [3, 6], 0, [0, 2, 1, 3, 4]]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([Step("fraction")] * (VERIFY_STEPS_MAX + 1), "at most 100 draws"),
        ([Step("shuffle", n=VERIFY_ITEMS_MAX + 1)], "at most 1000 items"),
        ([Step("shuffle", n=-(2**60)), Step("dice", count=2**60, sides=6)], "at most 1000 items"),
        ([Step("weighted", weights=[1] * 600), Step("shuffle", n=600)], "at most 1000 items"),
        ([Step("shuffle", n=-1)], "0 to 65536 items to shuffle, not -1"),
        ([Step("dice", count=-1, sides=6)], "dice, not -1"),
        ([Step("below")], "not from 0"),
        ([Step("roulette")], "not 'roulette'"),
        ([Step()], "not ''"),
    ],
)
def test_verification_is_bounded_and_says_what_it_refuses(steps: Sequence[Step], says: str) -> None:
    with pytest.raises(BadDraw) as refused:
        rules.values_of(draw(), steps)
    assert says in refused.value.message
