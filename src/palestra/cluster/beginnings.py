"""The beginnings of lists, kept so that first pages cost no query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")

KEPT_ROWS_MAX = 101
"""The largest usual page, and the row behind it, which tells that there is more."""


class Beginning(Generic[Row]):
    """The first `KEPT_ROWS_MAX` rows of a list, and the page last made of them, for who asks for the same again."""

    __slots__ = ("_made", "_whole", "rows")

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._whole = len(rows) < KEPT_ROWS_MAX
        self._made: tuple[Any, Any] | None = None

    def first(self, count: int, fits: Callable[[Row], bool] | None = None) -> Sequence[Row] | None:
        """The first rows, or the first that fit; None where those that are kept do not tell."""
        if fits is not None:
            return [row for row in self.rows if fits(row)][:count] if self._whole else None
        return self.rows[:count] if self._whole or count <= len(self.rows) else None

    def page(self, parts: Any, make: Callable[[], Any]) -> Any:
        """What `make` makes of the rows and `parts`, or what it made of equal ones the last time."""
        if self._made is not None and self._made[0] == parts:
            return self._made[1]
        page = make()
        self._made = parts, page
        return page
