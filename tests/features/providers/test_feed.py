"""Reading a provider's feed, and comparing it row by row."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.features.providers.feed import LINE_BYTES_MAX, BadFeed, Format, Malformed, Row, read_feed
from palestra.features.providers.reconciliation import differences

ANN = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
BOB = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
HEAD = "transaction_id,kind,player_id,asset,amount\n"


def read(text: str | bytes, form: Format = "csv") -> list[Row | Malformed]:
    return list(read_feed(io.BytesIO(text.encode() if isinstance(text, str) else text), form))


def test_columns_come_in_any_order_with_others_between_and_cells_may_be_quoted() -> None:
    text = (
        f'\ufeffRound, Amount ,asset,player_id,"kind",transaction_id\r\nr1,500,EUR,{ANN.upper()},debit,"t,1"\r\n\r\n'
        f"r1,700,EUR,{ANN},credit,t2"
    )
    assert read(text) == [Row("debit", "t,1", ANN, "EUR", 500, 2), Row("credit", "t2", ANN, "EUR", 700, 4)]


def test_objects_hold_amounts_as_numbers_or_texts() -> None:
    one = {"kind": "rollback", "transaction_id": "t", "player_id": ANN, "asset": "EUR", "amount": 5, "more": [1]}
    lines = [json.dumps(one), "", json.dumps({**one, "amount": "9223372036854775807"})]
    row = Row("rollback", "t", ANN, "EUR", 5, 1)
    assert read("\n".join(lines), "ndjson") == [row, Row("rollback", "t", ANN, "EUR", 2**63 - 1, 3)]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (f"t,debit,{ANN},EUR", "4 cells where line 1 has 5"),
        (f"t,debit,{ANN},EUR,5,6", "6 cells where line 1 has 5"),
        (f"t,stake,{ANN},EUR,5", "Invalid enum value 'stake'"),
        ("t,debit,ann,EUR,5", "not a UUID"),
        (f"t,debit,{ANN},EUR,5.0", "no whole number"),
        (f"t,debit,{ANN},EUR,-5", "no whole number"),
        (f"t,debit,{ANN},EUR,", "no whole number"),
        (f"t,debit,{ANN},EUR,٣", "no whole number"),
        (f"t,debit,{ANN},EUR,0", "not between"),
        (f"t,debit,{ANN},EUR,9223372036854775808", "not between"),
        (f"t,debit,{ANN},EUR,{'9' * 5000}", "not between"),
        (f'"t,debit,{ANN},EUR,5', "unexpected end of data"),
    ],
)
def test_a_line_that_is_no_transaction_is_named_and_the_rest_is_read(cells: str, reason: str) -> None:
    wrong, right = read(f"{HEAD}{cells}\nt2,debit,{ANN},EUR,5\n")
    assert isinstance(wrong, Malformed) and wrong.line == 2 and reason in wrong.reason, wrong
    assert right == Row("debit", "t2", ANN, "EUR", 5, 3)


@pytest.mark.parametrize("line", ["{", "[]", "5", "{}", '{"kind":"debit"}', "[" * 10_000, '{"amount":1e400}'])
def test_an_object_that_is_none_is_named(line: str) -> None:
    (found,) = read(line, "ndjson")
    assert isinstance(found, Malformed) and found.line == 1 and found.reason


def test_bytes_that_are_no_text_and_endless_lines_are_named() -> None:
    endless = b"x" * (5 * LINE_BYTES_MAX)
    good = f"t,debit,{ANN},EUR,5\n".encode()
    wrong, long, row = read(HEAD.encode() + b"\xff\xfe\n" + endless + b"\n" + good)
    assert isinstance(wrong, Malformed) and wrong.line == 2
    assert long == Malformed(3, f"longer than {LINE_BYTES_MAX} bytes")
    assert row == Row("debit", "t", ANN, "EUR", 5, 4)
    assert read(endless, "ndjson") == [Malformed(1, f"longer than {LINE_BYTES_MAX} bytes")]


@pytest.mark.parametrize("head", ["", "\n", "kind,asset\n", HEAD.replace("kind", "asset"), "\xff\n", '"kind\n'])
def test_a_file_without_a_proper_first_line_is_refused_as_a_whole(head: str) -> None:
    with pytest.raises(BadFeed, match="line 1"):
        read(head.encode("latin-1"))


def test_a_feed_is_read_in_little_memory_however_long_it_is() -> None:
    class Endless(io.RawIOBase):
        lines = 0

        def readline(self, size: int | None = -1) -> bytes:
            self.lines += 1
            return f"t{self.lines},debit,{ANN},EUR,5\n".encode() if self.lines > 1 else HEAD.encode()

    file: Any = Endless()
    tracemalloc.start()
    rows: Iterator[Row | Malformed] = read_feed(file, "csv")
    for _ in range(20_000):
        next(rows)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# -- comparing


def names(here: list[Row], feed: list[Row]) -> list[str]:
    return [str(one) for one in differences(here, feed)]


DEBIT, CREDIT = Row("debit", "t1", ANN, "EUR", 500), Row("credit", "t2", ANN, "EUR", 700)
UNDONE = Row("rollback", "t1", ANN, "EUR", 500)


def test_equal_sides_do_not_differ_in_any_order() -> None:
    assert names([DEBIT, CREDIT, UNDONE], [UNDONE, CREDIT, DEBIT]) == []


def test_every_difference_has_its_name() -> None:
    feed = [
        Row("credit", "t1", ANN, "EUR", 500, 2),
        Row("credit", "t2", BOB, "USD", 701, 3),
        Row("debit", "t3", ANN, "EUR", 1, 4),
        Row("debit", "t3", ANN, "EUR", 1, 5),
    ]
    assert names([DEBIT, CREDIT, UNDONE], feed) == [
        "different kind: credit t1: debit here, credit in line 2",
        "different asset: credit t2: EUR here, USD in line 3",
        "different amount: credit t2: 700 here, 701 in line 3",
        f"different player: credit t2: {ANN} here, {BOB} in line 3",
        f"missing here: debit t3: line 4: 1 EUR of player {ANN}",
        "twice in the feed: debit t3: line 5 again",
        f"missing in the feed: rollback t1: 500 EUR of player {ANN}",
    ]


def test_what_lies_just_outside_the_day_may_be_in_the_feed_or_not() -> None:
    outside = Row("debit", "t1", ANN, "EUR", 500, 0, False)
    assert names([outside], []) == []
    assert names([outside], [DEBIT]) == []
    assert names([outside], [Row("debit", "t1", ANN, "EUR", 501, 2)]) == [
        "different amount: debit t1: 500 here, 501 in line 2"
    ]


def test_a_player_who_is_gone_is_not_compared() -> None:
    assert names([Row("debit", "t1", "", "EUR", 500)], [DEBIT]) == []
    assert names([Row("debit", "t1", "", "EUR", 500)], []) == [
        "missing in the feed: debit t1: 500 EUR of player (gone)"
    ]


rows = st.builds(
    Row,
    st.sampled_from(("debit", "rollback")),
    st.sampled_from(("a", "b", "c")),
    st.sampled_from((ANN, BOB)),
    st.just("EUR"),
    st.integers(1, 3),
)


@given(st.lists(rows, unique_by=lambda row: (row.kind, row.transaction_id)), st.lists(rows))
def test_sides_differ_exactly_when_they_hold_different_rows(here: list[Row], feed: list[Row]) -> None:
    def content(side: list[Row]) -> list[tuple[Any, ...]]:
        return sorted((row.transaction_id, row.kind, row.player_id, row.amount) for row in side)

    assert (names(here, feed) == []) == (content(here) == content(feed))
