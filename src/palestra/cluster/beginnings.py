"""The beginnings of lists, kept so that first pages cost no query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from palestra.core.encoded import Watch

Row = TypeVar("Row")

KEPT_ROWS_MAX = 101
"""The largest usual page, and the row behind it, which tells that there is more."""


class _Made(NamedTuple):
    question: Any
    watch: Watch
    page: Any


class Beginning(Generic[Row]):
    """The first `KEPT_ROWS_MAX` rows of a list, and the page last made of them, for who asks for the same again."""

    __slots__ = ("_made", "_whole", "rows")

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._whole = len(rows) < KEPT_ROWS_MAX
        self._made: _Made | None = None

    def first(self, count: int, fits: Callable[[Row], bool] | None = None) -> Sequence[Row] | None:
        """The first rows, or the first that fit; None where those that are kept do not tell."""
        if fits is not None:
            return [row for row in self.rows if fits(row)][:count] if self._whole else None
        return self.rows[:count] if self._whole or count <= len(self.rows) else None

    def page(self, question: Any) -> Any:
        """The page last made, if it was the answer to this question and would be made the same again."""
        made = self._made
        return made.page if made is not None and made.question == question and made.watch.unchanged() else None

    def keep(self, question: Any, page: Any, watch: Watch) -> None:
        """Keep a page as long as `watch` sees what it was made of besides the rows."""
        self._made = _Made(question, watch, page)
