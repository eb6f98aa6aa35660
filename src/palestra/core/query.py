r"""The query language of the matchmaker, of label listings and of storage indexes: read, kept as data, scored.

    +properties.mode:ranked -properties.map:desert properties.skill:>=12.5 label.name:/ab+c/^2

A query is `*` for everything, or clauses with spaces between: `+` must match, `-` must not, and of the others one must
if there is no `+`. Values are matched whole and by case. `docs/guide/queries.md` tells it to those who write queries.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from palestra.core.errors import InvalidArgument
from palestra.core.regexps import Automaton, BadPattern, regexp, wildcard

QUERY_BYTES_MAX = 4_096
CLAUSES_MAX = 128
REGEXPS_MAX = 8
FUZZY_MAX = 8
EDITS_MAX = 2
FUZZY_CHARS_MAX = 128

Value = str | int | float | datetime
Document = Mapping[str, Sequence[Value]]
"""What queries are asked of: for each field all its values; times aware, booleans as the texts T and F."""


class BadQuery(InvalidArgument, ValueError):
    """The text is no query; the message says where it goes wrong."""


# -- what a clause asks of a value


@dataclass(frozen=True, slots=True)
class Text:
    """Equal to a text."""

    text: str

    def matches(self, value: Value) -> bool:
        """Whether a value fulfils the condition; so in all conditions."""
        return value == self.text


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value at all."""

    def matches(self, value: Value) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Number:
    """Equal to a number, or the text that the number was written as."""

    number: int | float
    text: str

    def matches(self, value: Value) -> bool:
        return value == self.number or value == self.text


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A number beyond a bound: `operator` is one of `>`, `>=`, `<`, `<=`."""

    operator: str
    bound: int | float

    def matches(self, value: Value) -> bool:
        return isinstance(value, int | float) and _beyond(self.operator, value, self.bound)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A time beyond a bound, as in `NumberRange`; the bound is aware."""

    operator: str
    bound: datetime

    def matches(self, value: Value) -> bool:
        return isinstance(value, datetime) and _beyond(self.operator, value, self.bound)


@dataclass(frozen=True, slots=True)
class Regexp:
    """A text that a regular expression covers; which expressions there are, `regexps.regexp` says."""

    pattern: str
    automaton: Automaton = dataclasses.field(compare=False, repr=False)

    def matches(self, value: Value) -> bool:
        return isinstance(value, str) and self.automaton.matches(value)


@dataclass(frozen=True, slots=True)
class Wildcard:
    r"""A text that a pattern covers: `*` any run, `?` any one character, `\` before a `*`, `?` or `\` meant as such."""

    pattern: str
    covers: Callable[[str], bool] = dataclasses.field(compare=False, repr=False)

    def matches(self, value: Value) -> bool:
        return isinstance(value, str) and self.covers(value)


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A text at most `edits` insertions, deletions or replacements of one character away."""

    text: str
    edits: int

    def matches(self, value: Value) -> bool:
        return isinstance(value, str) and within_edits(self.text, value, self.edits)


Condition = Text | Nothing | Number | NumberRange | TimeRange | Regexp | Wildcard | Fuzzy


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition on a field. The field is "" for a bare value, which no document has: it never matches.

    `text` is how it was written, sign and boost included.
    """

    field: str
    condition: Condition
    boost: float = 1.0
    text: str = dataclasses.field(default="", compare=False)

    def matches(self, document: Document) -> bool:
        """Whether any of the field's values fulfils the condition."""
        matches = self.condition.matches
        for value in document.get(self.field, ()):  # noqa: SIM110 - half the time of any()
            if matches(value):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read. Without any clause it matches everything."""

    text: str
    required: tuple[Clause, ...] = ()
    optional: tuple[Clause, ...] = ()
    excluded: tuple[Clause, ...] = ()

    def score(self, document: Document) -> float | None:
        """None if the document does not match, else the sum of the boosts of what matched; 1 if nothing had to.

        Costs a look-up per clause; a regular expression up to 2 µs for each character of a value, all at worst 20 ms.
        """
        for clause in self.required:
            if not clause.matches(document):
                return None
        for clause in self.excluded:
            if clause.matches(document):
                return None
        if not self.required and not self.optional:
            return 1.0
        score = sum(clause.boost for clause in self.required)
        found = bool(self.required)
        for clause in self.optional:
            if clause.matches(document):
                score += clause.boost
                found = True
        return score if found else None

    def failing(self, document: Document) -> Clause | None:
        """A clause because of which the document does not match: the first that is told; None if it matches."""
        if self.score(document) is not None:
            return None
        missed = next((clause for clause in self.required if not clause.matches(document)), None)
        hit = next((clause for clause in self.excluded if clause.matches(document)), None)
        return missed or hit or self.optional[0]


EVERYTHING = Query("*")


def _beyond(operator: str, value: Any, bound: Any) -> bool:
    if operator == ">":
        return value > bound
    if operator == ">=":
        return value >= bound
    return value < bound if operator == "<" else value <= bound


def within_edits(left: str, right: str, edits: int) -> bool:
    """Whether one text becomes the other by at most so many insertions, deletions and replacements. O(length)."""
    if abs(len(left) - len(right)) > edits:
        return False
    far = edits + 1
    row = list(range(len(right) + 1))
    for i, char in enumerate(left, 1):
        # Only a band around the diagonal can still be near enough.
        low, high = max(1, i - edits), min(len(right), i + edits)
        above, row = row, [far] * (len(right) + 1)
        row[0] = i
        for j in range(low, high + 1):
            row[j] = min(above[j - 1] + (char != right[j - 1]), above[j] + 1, row[j - 1] + 1)
        if min(row[low - 1 : high + 1]) > edits:
            return False
    return row[len(right)] <= edits


# -- reading


_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?=[\s:^~]|$)")
_SUFFIX = re.compile(r"([~^])([0-9]+(?:\.[0-9]*)?)?(?=[\s^]|$)")
_ESCAPABLE = frozenset('+-=&|><!(){}[]^"~*?:\\/ ')
_ENDS_TEXT = re.compile(r"[\s:^~]")


@dataclass(slots=True)
class _Token:
    """A piece of a query: `kind` is text, number, phrase, one of `~^` or a sign as itself; `at` its first character."""

    kind: str
    at: int
    text: str = ""
    pattern: str = ""
    """Of a text with `*` or `?`: the wildcard."""
    number: float = 1.0


@lru_cache(1024)
def parse(text: str, *, quotes: bool = True) -> Query:
    """Read a query; `*` and nothing match everything. Raises BadQuery.

    Without `quotes` a value in quotes is found nowhere: so clients' listings of matches and parties have always had it.
    """
    if len(text) > QUERY_BYTES_MAX or len(text.encode("utf-8", "surrogatepass")) > QUERY_BYTES_MAX:
        raise BadQuery(f"a query may have {QUERY_BYTES_MAX} bytes")
    if text.strip() in ("", "*"):
        return EVERYTHING
    tokens = list(_tokens(text))
    clauses: dict[str, list[Clause]] = {"+": [], "-": [], "": []}
    at = regexps = fuzzy = 0
    for count in range(len(tokens)):
        if at == len(tokens):
            break
        if count == CLAUSES_MAX:
            raise BadQuery(f"a query may have {CLAUSES_MAX} clauses")
        sign = tokens[at].kind if tokens[at].kind in "+-" else ""
        start = tokens[at].at
        clause, at = _clause(text, tokens, at + len(sign), quotes)
        written = text[start : tokens[at].at if at < len(tokens) else len(text)].strip()
        regexps += isinstance(clause.condition, Regexp)
        if regexps > REGEXPS_MAX:
            raise BadQuery(f"a query may have {REGEXPS_MAX} regular expressions")
        fuzzy += isinstance(clause.condition, Fuzzy)
        if fuzzy > FUZZY_MAX:
            raise BadQuery(f"a query may have {FUZZY_MAX} values followed by ~")
        clauses[sign].append(dataclasses.replace(clause, text=written))
    return Query(text, tuple(clauses["+"]), tuple(clauses[""]), tuple(clauses["-"]))


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif char in "+-:><=":
            yield _Token(char, at)
            at += 1
        elif char in "~^":
            found = _SUFFIX.match(text, at)
            if found is None:
                raise BadQuery(f"at character {at + 1} of the query: after {char} stands a number")
            yield _Token(char, at, number=float(found[2] or 1))
            at = found.end()
        elif (found := _NUMBER.match(text, at)) is not None:
            yield _Token("number", at, found[0], number=_number(found[0], at))
            at = found.end()
        elif char == '"':
            token, at = _phrase(text, at)
            yield token
        else:
            token, at = _text(text, at)
            yield token


def _number(text: str, at: int) -> int | float:
    number = float(text)
    if math.isinf(number):
        raise BadQuery(f"at character {at + 1} of the query: the number is too large")
    return number if "." in text else int(text)


def _escaped(text: str, at: int) -> str:
    """What a backslash at `at` and the character after it stand for."""
    char = text[at + 1 : at + 2]
    if not char:
        raise BadQuery("a query cannot end in a backslash")
    return char if char in _ESCAPABLE else "\\" + char


def _phrase(text: str, start: int) -> tuple[_Token, int]:
    read: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != '"':
        piece = _escaped(text, at) if text[at] == "\\" else text[at]
        read.append(piece)
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise BadQuery(f"the quote at character {start + 1} of the query is not closed")
    return _Token("phrase", start, "".join(read)), at + 1


def _text(text: str, start: int) -> tuple[_Token, int]:
    read: list[str] = []
    pattern: list[str] = []
    wild = False
    at = start
    while at < len(text) and not _ENDS_TEXT.match(text, at):
        escaped = text[at] == "\\"
        piece = _escaped(text, at) if escaped else text[at]
        at += 2 if escaped else 1
        read.append(piece)
        if piece in "*?" and not escaped:
            wild = True
            pattern.append(piece)
        else:
            pattern.append(re.sub(r"[*?\\]", r"\\\g<0>", piece))
    return _Token("text", start, "".join(read), "".join(pattern) if wild else ""), at


def _clause(text: str, tokens: list[_Token], at: int, quotes: bool) -> tuple[Clause, int]:
    """The clause that begins at a token, without its sign, and the token after it."""
    kinds = [token.kind for token in tokens[at : at + 2]]
    name = ""
    if kinds == ["text", ":"]:
        name = tokens[at].text
        at += 2
    operator = ""
    if name and at < len(tokens) and tokens[at].kind in "<>":
        operator = tokens[at].kind
        at += 1
        if at < len(tokens) and tokens[at].kind == "=":
            operator += "="
            at += 1
    negative = bool(name) and at < len(tokens) and tokens[at].kind == "-"
    at += negative
    if at == len(tokens):
        raise BadQuery("the query ends where a value is expected")
    token = tokens[at]
    wanted = ("number",) if negative else ("number", "phrase") if operator else ("number", "phrase", "text")
    if token.kind not in wanted:
        shown = text[token.at : token.at + 20]
        raise BadQuery(f"at character {token.at + 1} of the query: expected {' or '.join(wanted)}, not {shown}")
    at += 1
    edits: float | None = None
    if not operator and not negative and token.kind != "phrase" and at < len(tokens) and tokens[at].kind == "~":
        edits = tokens[at].number
        at += 1
    boost = 1.0
    if at < len(tokens) and tokens[at].kind == "^":
        boost = tokens[at].number
        at += 1
    return Clause(name, _condition(token, operator, negative, edits, quotes), boost), at


def _condition(token: _Token, operator: str, negative: bool, edits: float | None, quotes: bool) -> Condition:
    if edits is not None:
        if edits not in range(EDITS_MAX + 1):
            raise BadQuery(f"after ~ stands how many edits are allowed: 0 to {EDITS_MAX}")
        if len(token.text) > FUZZY_CHARS_MAX:
            raise BadQuery(f"a value before ~ may have {FUZZY_CHARS_MAX} characters")
        return Fuzzy(token.text, int(edits))
    if token.kind == "number":
        number = -token.number if negative else token.number
        return NumberRange(operator, number) if operator else Number(number, "-" * negative + token.text)
    if operator:
        bound = time_of(token.text)
        if bound is None:
            raise BadQuery(f"at character {token.at + 1} of the query: {token.text!r} is no RFC 3339 time")
        return TimeRange(operator, bound)
    if token.kind == "phrase":
        return Text(token.text) if quotes else Nothing()
    try:
        if len(token.text) > 1 and token.text[0] == token.text[-1] == "/":
            return Regexp(token.text[1:-1], regexp(token.text[1:-1]))
        return Wildcard(token.pattern, wildcard(token.pattern)) if token.pattern else Text(token.text)
    except BadPattern as error:
        raise BadQuery(f"at character {token.at + 1} of the query: {error}") from None


# -- documents


_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
).fullmatch


def time_of(text: str) -> datetime | None:
    """The time a text stands for: RFC 3339, also without zone (UTC), with a space for the T, or a date alone."""
    if not 10 <= len(text) <= 35 or not _TIME(text):
        return None
    try:
        # Python keeps microseconds.
        found = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def flatten(content: Any, prefix: str) -> dict[str, list[Value]]:
    """Decoded JSON as a document: `{"a": {"b": [1, 2]}}` with prefix `label` has 1 and 2 in `label.a.b`.

    Texts that stand for a time become times, booleans T and F; null is left out.
    """
    found: dict[str, list[Value]] = {}
    waiting: list[tuple[str, Any]] = [(prefix, content)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((f"{name}.{key}", one) for key, one in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((name, one) for one in value)
        elif isinstance(value, bool):
            found.setdefault(name, []).append("T" if value else "F")
        elif isinstance(value, str):
            found.setdefault(name, []).append(time_of(value) or value)
        elif isinstance(value, int | float):
            found.setdefault(name, []).append(value)
    return found
