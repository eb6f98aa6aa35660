"""The storage indexes that the games of this node declare: kept with every write, built in the background, searched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from palestra.core.clock import Clock
from palestra.core.log import get_logger
from palestra.core.query import Query, parse
from palestra.core.turns import Turns
from palestra.features.storage import index_rules
from palestra.features.storage.contract import (
    CANDIDATES_MAX,
    Index,
    IndexBuilding,
    ObjectWrite,
    TooManyValues,
    UnknownIndex,
)
from palestra.features.storage.index_rules import IndexChange, Sort, Stretch
from palestra.features.storage.index_store import Entry, IndexStore
from palestra.features.storage.rules import Id, Row, readable_by
from palestra.jobs.contract import Job, Jobs

BUILD = "storage.build_index"
DROP = "storage.drop_index"
CHUNK_ROWS = 500
WALK_ROWS = 1_000
JOB_SECONDS_MAX = 6 * 3_600.0
TOLD_EVERY_ROWS = 50_000

log = get_logger(__name__)


class IndexName(msgspec.Struct):
    """Which index a job is about."""

    id: str


class Indexes:
    """The declared indexes; until `start` there are none. A write of a collection without one costs a look-up."""

    def __init__(self, store: IndexStore, jobs: Jobs, clock: Clock) -> None:
        self._store = store
        self._turns = Turns(clock.monotonic)
        self._jobs = jobs
        self._by_name: dict[str, Index] = {}
        self._by_collection: dict[str, list[Index]] = {}
        self._ready: set[str] = set()

    # -- declarations

    async def start(self, declared: Iterable[Index]) -> None:
        """Put other indexes into force. What is declared no more is dropped by a job.

        So is built what is new, unless the collection is so small that it is done at once.
        """
        self._by_name = {index.name: index for index in declared}
        self._by_collection = {}
        for index in self._by_name.values():
            self._by_collection.setdefault(index.collection, []).append(index)
        wanted = {index.id: index for index in self._by_name.values()}
        self._ready = set()
        for index_id, ready in (await self._store.declare(sorted(wanted))).items():
            index = wanted.get(index_id)
            if index is not None and (ready or not await self._build_chunk(index)):
                self._ready.add(index_id)
            else:
                name = DROP if index is None else BUILD
                await self._jobs.enqueue(None, name, IndexName(index_id), dedupe_key=index_id)

    def jobs(self) -> list[Job]:
        """What builds and drops indexes."""
        return [
            Job(BUILD, self._build, IndexName, seconds_max=JOB_SECONDS_MAX),
            Job(DROP, self._drop, IndexName, seconds_max=JOB_SECONDS_MAX),
        ]

    async def _build(self, wanted: IndexName) -> None:
        index = next((one for one in self._by_name.values() if one.id == wanted.id), None)
        if index is None:
            log.info("an index is declared no more, and not built", index=wanted.id)
            return
        while await self._build_chunk(index):
            pass

    async def _build_chunk(self, index: Index) -> bool:
        """Enter some more objects; whether that was not yet all."""
        more, rows = await self._store.build_chunk(index, CHUNK_ROWS, lambda row: self._change(index, row))
        if not more or rows % TOLD_EVERY_ROWS == 0:
            log.info("index is being built" if more else "index built", index=index.name, objects=rows)
        return more

    async def _drop(self, wanted: IndexName) -> None:
        if any(index.id == wanted.id for index in self._by_name.values()):
            return
        while await self._store.drop_chunk(wanted.id, CHUNK_ROWS):
            pass
        log.info("index dropped", index=wanted.id)

    # -- writes

    def with_changes(self, row: Row) -> Row:
        """A write along with what it does to indexes. Raises TooManyValues."""
        if row.id[0] not in self._by_collection:
            return row
        return msgspec.structs.replace(row, index_changes=tuple(self._changes(row)))

    def _changes(self, row: Row) -> Iterable[IndexChange]:
        _, key, user_id = row.id
        for index in self._by_collection[row.id[0]]:
            if index.key not in ("", key):
                continue
            if self._keeps(index, row):
                yield index_rules.entered(index, key, user_id, row.value, row.permission_read)
            else:
                yield IndexChange(index.id, key, user_id)

    def _change(self, index: Index, row: Row) -> IndexChange | None:
        """What an object that is there already is entered as; None if it is not."""
        _, key, user_id = row.id
        if index.key not in ("", key) or not self._keeps(index, row):
            return None
        try:
            return index_rules.entered(index, key, user_id, row.value, row.permission_read)
        except TooManyValues as error:
            log.warning("an object is not in its index", index=index.name, key=key, owner=user_id, reason=error.message)
            return None

    def _keeps(self, index: Index, row: Row) -> bool:
        if index.keep is None:
            return True
        write = ObjectWrite(*row.id[:2], row.value, row.id[2], "", row.permission_read, row.permission_write)
        try:
            return bool(index.keep(write))
        except Exception as error:
            log.error("game code failed, and an object is not in its index", index=index.name, exc_info=error)
            return False

    def removals(self, ids: Iterable[Id]) -> list[IndexChange]:
        """What deleting objects does to indexes."""
        return [
            IndexChange(index.id, key, user_id)
            for collection, key, user_id in ids
            for index in self._by_collection.get(collection, ())
        ]

    # -- searches

    async def search(
        self, name: str, text: str, limit: int, order: str, cursor: str, caller_id: str | None
    ) -> tuple[list[Id], str]:
        """The names of the objects of a page, and the cursor behind it. See Storage.search."""
        index_rules.check_limit(limit)
        index = self._by_name.get(name)
        if index is None:
            raise UnknownIndex(name)
        query = parse(text)
        narrowings = index_rules.narrowings(index, query)
        field, downwards = index_rules.order_of(index, order)
        start = index_rules.search_start(index, text, order, caller_id, cursor)
        if index.id not in self._ready:
            if not await self._store.is_ready(index.id):
                raise IndexBuilding(name)
            self._ready.add(index.id)
        search = _Search(index, query, field, downwards, caller_id)
        stretches = await self._narrowest(index, narrowings)
        if stretches is not None:
            found = await self._narrowed(search, stretches, start)
            last = found[limit - 1] if len(found) > limit else None
        else:
            found, last = await self._walked(search, start, limit)
        ids = [(index.collection, place.key, place.user_id) for place in found[:limit]]
        return ids, "" if last is None else index_rules.search_cursor(index, text, order, caller_id, last)

    async def _narrowest(self, index: Index, narrowings: Sequence[Sequence[Stretch]]) -> Sequence[Stretch] | None:
        """The way that leads to the fewest objects; None if all lead to more than may be looked at."""
        if not narrowings:
            return None
        flat = [one for stretches in narrowings for one in stretches]
        lengths = iter(await self._store.lengths(index.id, flat, CANDIDATES_MAX + 1))
        sums = [sum(next(lengths) for _ in stretches) for stretches in narrowings]
        least = min(sums)
        return narrowings[sums.index(least)] if least <= CANDIDATES_MAX else None

    async def _narrowed(self, search: _Search, stretches: Sequence[Stretch], start: Sort | None) -> list[Sort]:
        """The places behind the start of what matches among the entries of some stretches, in their order."""
        places: list[Sort] = []

        def look_at(entry: Entry) -> bool:
            place = search.place_of(entry)
            if place is not None and (start is None or (place < start if search.downwards else place > start)):
                places.append(place)
            return False

        await self._turns.each(await self._store.narrowed(search.index.id, stretches, CANDIDATES_MAX), look_at)
        return sorted(places, reverse=search.downwards)

    async def _walked(self, search: _Search, at: Sort | None, limit: int) -> tuple[list[Sort], Sort | None]:
        """What matches along the order, and where the page ends if there may be more."""
        found: list[Sort] = []

        def page_is_full(row: tuple[Sort, Entry]) -> bool:
            if search.matches(row[1]):
                found.append(row[0])
            return len(found) > limit

        for _ in range(CANDIDATES_MAX // WALK_ROWS):
            entries = await self._store.walked(search.index.id, search.field, search.downwards, at, WALK_ROWS)
            await self._turns.each(entries, page_is_full)
            if len(found) > limit:
                return found[:limit], found[limit - 1]
            if len(entries) < WALK_ROWS:
                return found, None
            at = entries[-1][0]
        return found, at


class _Search:
    """What is asked of entries, and the order of those that match."""

    def __init__(self, index: Index, query: Query, field: str, downwards: bool, caller_id: str | None) -> None:
        self.index = index
        self.field = field
        self.downwards = downwards
        self._query = query
        self._caller_id = caller_id

    def matches(self, entry: Entry) -> bool:
        """Whether an entry fulfils the query and may be seen."""
        document = index_rules.document(entry.key, entry.user_id, entry.fields)
        seen = readable_by(entry.permission_read, entry.user_id, self._caller_id)
        return seen and self._query.score(document) is not None

    def place_of(self, entry: Entry) -> Sort | None:
        """Where an entry stands that matches."""
        if not self.matches(entry):
            return None
        document = index_rules.document(entry.key, entry.user_id, entry.fields)
        return index_rules.sort_of(self.field, document, entry.key, entry.user_id)
