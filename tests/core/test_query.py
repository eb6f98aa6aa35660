"""The query language: what is read, what is refused, and what matches, beside an evaluator of its own."""

from __future__ import annotations

import fnmatch
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.core import query as q
from palestra.core.query import BadQuery, flatten, parse, time_of

DOCUMENT: dict[str, list[Any]] = {
    "properties.region": ["europe"],
    "properties.skill": [12.5],
    "properties.rank": [-3],
    "properties.two words": ["a b"],
    "properties.tags": ["red", "blue"],
    "label.open": ["T"],
    "label.since": [datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)],
    "label.code": ["1.50"],
}


def score(text: str) -> float | None:
    return parse(text).score(DOCUMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", 1),
        ("", 1),
        ("  ", 1),
        ("+properties.region:europe", 1),
        ("+properties.region:Europe", None),
        ("+properties.region:euro", None),
        ("+properties.region:europe properties.tags:red", 2),
        ("+properties.region:europe properties.tags:green", 1),
        ("properties.region:asia properties.tags:blue^3", 3),
        ("properties.region:asia properties.tags:green", None),
        ("-properties.region:asia", 1),
        ("-properties.region:europe", None),
        ("-properties.nothing:x", 1),
        ("properties.tags:green -properties.region:asia", None),
        ("properties.skill:12.5", 1),
        ("properties.skill:12.50", 1),
        ("properties.skill:12", None),
        ("properties.rank:-3", 1),
        ("label.code:1.50", 1),
        ("label.code:1.5", None),
        ("properties.skill:>12", 1),
        ("properties.skill:>12.5", None),
        ("properties.skill:>=12.5", 1),
        ("properties.skill:<12.5", None),
        ("properties.skill:<=12.5", 1),
        ("properties.rank:<-2 properties.rank:>-4", 2),
        ("properties.region:>1", None),
        ('label.since:>"2024-05-06"', 1),
        ('label.since:<="2024-05-06T09:08:09+02:00"', 1),
        ('label.since:<"2024-05-06 07:08:09"', None),
        ('label.since:"2024-05-06T07:08:09Z"', None),
        ('properties.region:>"2024-05-06"', None),
        ('properties.two\\ words:"a b"', 1),
        ("properties.two\\ words:a\\ b", 1),
        ("properties.region:/eu.*/", 1),
        ("properties.region:/eu/", None),
        ("properties.region:/(?i)EUROPE/", 1),
        ("properties.region:eu*", 1),
        ("properties.region:e?rope", 1),
        ("properties.region:e\\?rope", None),
        ("properties.region:?", None),
        ("properties.region:eurpe~", 1),
        ("properties.region:uerope~1", None),
        ("properties.region:uerope~2", 1),
        ("properties.region:europe~0^2.5", 2.5),
        ("label.open:T", 1),
        ("europe", None),
        ("-europe", 1),
        ("+properties.region : europe", 1),
        ("+ properties.region:europe", 1),
        ("properties.region:europe^", 1),
        ("properties.region:europe^0", 0),
    ],
)
def test_a_query_scores_a_document(text: str, expected: float | None) -> None:
    assert score(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"',
        'a:"b',
        "a:",
        "+",
        "a:b\\",
        "a:>b",
        "a:-b",
        "a:+b",
        "a:=5",
        'a:>"yesterday"',
        "a:b~3",
        "a:b~1.5",
        "a:b~x",
        "a:b^x",
        "a:b^2~1",
        "a:b:c",
        "1:a",
        "a:/(/",
        "a:/b\\)/",
        "a:/*b/",
        "a:/(?=b)/",
        "a:/\\1/",
        "a:/b{2/",
        "a:/b{3,2}/",
        "a:/[b/",
        "a:/((a{100}){100}){100}/",
        "a:/((){256}){256}/",
        "a:/x/ " * 9,
        "a:" + "9" * 400,
        "a:b " * 129,
        "a:" + "b" * 5_000,
        "a:" + "b" * 200 + "~",
    ],
)
def test_what_is_no_query_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert len(refused.value.message) > 10


def test_conditions_are_public_data() -> None:
    found = parse('+a:b -c:>="2024-01-01" d:/x+/^2 e:*y f:v~1 g:7 h:<-1.5')
    assert found.required == (q.Clause("a", q.Text("b")),)
    assert found.excluded == (q.Clause("c", q.TimeRange(">=", datetime(2024, 1, 1, tzinfo=UTC))),)
    assert [type(one.condition) for one in found.optional] == [q.Regexp, q.Wildcard, q.Fuzzy, q.Number, q.NumberRange]
    assert found.optional[0].boost == 2
    assert isinstance(found.optional[0].condition, q.Regexp) and found.optional[0].condition.pattern == "x+"
    assert found.optional[4].condition == q.NumberRange("<", -1.5)


def test_a_query_tells_which_clause_fails() -> None:
    assert parse("+properties.region:europe").failing(DOCUMENT) is None
    for text, field in [
        ("+properties.region:europe +properties.skill:>20", "properties.skill"),
        ("+properties.region:europe -properties.tags:red", "properties.tags"),
        ("properties.region:asia", "properties.region"),
    ]:
        clause = parse(text).failing(DOCUMENT)
        assert clause is not None and clause.field == field


def test_no_pattern_can_hang_the_node() -> None:
    started = time.perf_counter()
    for pattern in ("/(a*)*b/", "/(a|a)*b/", "/(a?){60}a{60}/", "/(.*)(.*)(.*)(.*)(.*)x/", "*a*a*a*a*a*a*b"):
        assert parse(f"f:{pattern}").score({"f": ["a" * 512]}) is None
    assert parse("f:*a*a*a*a*a*a*a*a*b").score({"f": ["a" * 100_000]}) is None
    assert parse("f:/a+/").score({"f": ["a" * 512]}) == 1
    assert parse("f:/a+/").score({"f": ["a" * 513]}) is None
    assert time.perf_counter() - started < 2


# -- documents


def test_labels_become_documents() -> None:
    content = {
        "mode": "duel",
        "open": True,
        "full": False,
        "none": None,
        "map": {"size": 3, "name": ["a", "b", {"deep": 1}]},
        "since": "2024-05-06T07:08:09.123456789Z",
        "day": "2024-05-06",
    }
    found = flatten(content, "label")
    assert sorted(found.pop("label.map.name"), key=str) == ["a", "b"]
    assert found == {
        "label.mode": ["duel"],
        "label.open": ["T"],
        "label.full": ["F"],
        "label.map.size": [3],
        "label.map.name.deep": [1],
        "label.since": [datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)],
        "label.day": [datetime(2024, 5, 6, tzinfo=UTC)],
    }


def test_labels_of_any_depth_are_flattened() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert flatten(deep, "label") == {"label": [1]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-06", datetime(2024, 5, 6, tzinfo=UTC)),
        ("2024-05-06 07:08:09", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09+02:00", datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-05-06T07:08:09.5Z", datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)),
        ("2024-13-06", None),
        ("20240506", None),
        ("2024-05", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("monday", None),
    ],
)
def test_texts_that_look_like_times_are_times(text: str, expected: datetime | None) -> None:
    assert time_of(text) == expected


# -- an evaluator of its own: clauses as tuples, rendered to text, judged by the plainest code there is

FIELDS = ("a", "b", "c d")
TEXTS = st.text("ab1 :*\\", min_size=1, max_size=4)
NUMBERS = st.sampled_from([0, 1, 2, 2.5, -1, -2.5, 1000])
SIGNS = st.sampled_from(["", "+", "-"])
BOOSTS = st.sampled_from([None, 2, 0.5])


def escape(text: str, extra: str = "") -> str:
    return "".join("\\" + char if char in '+-=&|><!(){}[]^"~*?:\\/ ' + extra else char for char in text)


@st.composite
def clauses(draw: st.DrawFn) -> tuple[str, str, str, Any, float | None]:
    kind = draw(st.sampled_from(["text", "phrase", "number", "range", "wildcard", "fuzzy"]))
    if kind == "range":
        value: Any = (draw(st.sampled_from([">", ">=", "<", "<="])), draw(NUMBERS))
    elif kind == "number":
        value = draw(NUMBERS)
    elif kind == "wildcard":
        value = draw(st.text("ab*?", min_size=1, max_size=5)) + "*"
    elif kind == "fuzzy":
        value = (draw(st.text("ab", min_size=1, max_size=4)), draw(st.integers(0, 2)))
    else:
        # What begins with a digit might be a number.
        value = draw(TEXTS.filter(lambda text: kind == "phrase" or not text[0].isdigit()))
    return draw(SIGNS), draw(st.sampled_from(FIELDS)), kind, value, draw(BOOSTS)


def rendered(sign: str, name: str, kind: str, value: Any, boost: float | None) -> str:
    shown = {
        "text": lambda: escape(value),
        "phrase": lambda: f'"{escape(value)}"',
        "number": lambda: str(value),
        "range": lambda: f"{value[0]}{value[1]}",
        "wildcard": lambda: value,
        "fuzzy": lambda: f"{value[0]}~{value[1]}",
    }[kind]()
    return f"{sign}{escape(name)}:{shown}" + (f"^{boost}" if boost else "")


def distance(left: str, right: str) -> int:
    if not left or not right:
        return len(left or right)
    if left[0] == right[0]:
        return distance(left[1:], right[1:])
    return 1 + min(distance(left[1:], right), distance(left, right[1:]), distance(left[1:], right[1:]))


def holds(kind: str, asked: Any, value: Any) -> bool:
    if kind in ("text", "phrase"):
        return value == asked
    if kind == "number":
        return value == asked or value == str(asked)
    if kind == "range":
        sign, bound = asked
        return (
            not isinstance(value, str)
            and {
                ">": value > bound,
                ">=": value >= bound,
                "<": value < bound,
                "<=": value <= bound,
            }[sign]
        )
    if isinstance(value, str):
        return fnmatch.fnmatchcase(value, asked) if kind == "wildcard" else distance(asked[0], value) <= asked[1]
    return False


def judged(parts: list[Any], document: dict[str, list[Any]]) -> float | None:
    hits = [any(holds(kind, asked, value) for value in document.get(name, [])) for _, name, kind, asked, _ in parts]
    signs = [part[0] for part in parts]
    if any(sign == "-" and hit for sign, hit in zip(signs, hits, strict=True)):
        return None
    if any(sign == "+" and not hit for sign, hit in zip(signs, hits, strict=True)):
        return None
    if all(sign == "-" for sign in signs):
        return 1.0
    if "+" not in signs and not any(hit for sign, hit in zip(signs, hits, strict=True) if sign == ""):
        return None
    return sum(part[4] or 1 for part, hit in zip(parts, hits, strict=True) if hit and part[0] != "-")


DOCUMENTS = st.dictionaries(
    st.sampled_from(FIELDS), st.lists(st.one_of(TEXTS, st.text("ab", max_size=5), NUMBERS), max_size=3)
)


def test_a_value_in_quotes_is_found_nowhere_where_clients_have_it_so() -> None:
    for text, score in (('a:"b"', None), ('-a:"b"', 1), ("+a:b", 1), ('a:"b" a:b', 1)):
        assert parse(text, quotes=False).score({"a": ["b"]}) == score


@given(st.lists(clauses(), min_size=1, max_size=5), DOCUMENTS)
def test_queries_score_as_the_plain_evaluator_says(parts: list[Any], document: dict[str, list[Any]]) -> None:
    text = " ".join(rendered(*part) for part in parts)
    expected = judged(parts, document)
    assert parse(text).score(document) == (pytest.approx(expected) if expected is not None else None)


@given(st.text(st.sampled_from('ab1 +-:"/\\*?~^<>=().[]{}|$'), max_size=24))
def test_any_text_is_a_query_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except BadQuery:
        return
    found.score({"a": ["b", 1], "b": ["a"]})


def test_a_query_has_so_many_values_followed_by_a_tilde() -> None:
    parse(" ".join(["a:b~"] * 8))
    with pytest.raises(BadQuery, match="8 values followed by ~"):
        parse(" ".join(["a:b~"] * 9))
