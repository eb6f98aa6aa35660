"""Players in a test database, and a way to call operations as one of them without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import msgspec

from palestra.cluster.cache import Caches
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.events import EventBus
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing, Sealer
from palestra.features.accounts.service import AccountService
from palestra.features.accounts.store import AccountStore
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.fields import RequestDecoder
from palestra.gateway.http.router import Router
from palestra.gateway.operation import Call, Caller, Operation

_encode = msgspec.json.Encoder().encode


class Players:
    """Makes players; `users` is the accounts feature's own service."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        sealer = Sealer(KeyRing.load_or_create(folder / "keys.json"))
        self.caches = Caches(Tasks(), CacheSettings())
        self._store = AccountStore(database, DatabaseSettings(), sealer, self.caches)
        nothing = cast(Any, None)
        self.users = AccountService(self._store, nothing, nothing, EventBus(), PresenceEngine(), nothing)

    async def make(self, *usernames: str) -> list[str]:
        """New players; their ids."""
        ids = [new_id() for _ in usernames]
        await self._database.execute(
            "INSERT INTO users (id, username) SELECT * FROM unnest($1::uuid[], $2::text[])", ids, list(usernames)
        )
        return ids

    async def delete(self, user_id: str, *forgetful: Any) -> None:
        """Delete a player as the accounts feature does, after each of the features has forgotten them."""
        async with self._database.transaction() as tx:
            for feature in forgetful:
                await feature.forget(tx, user_id)
            await self._store.delete(tx, user_id)

    async def edge_counts(self) -> dict[str, int]:
        """The friend counter of every player."""
        return dict(await self._database.fetch("SELECT id::text, edge_count FROM users"))

    async def stop(self) -> None:
        """Close the connections of the accounts feature."""
        await self._store.stop()


class Api:
    """Calls operations as one player: decodes the query and body, runs the handler, reads the answer's JSON."""

    def __init__(self, operations: Sequence[Operation], user_id: str, username: str) -> None:
        self._router = Router(operations)
        self._caller = Caller(user_id, username, {}, "", 0, 0)

    async def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        found = self._router.find(method, path)
        assert found is not None and found[0] is not None, f"no operation {method} {path}"
        operation, names, values = found
        decoder = RequestDecoder(operation.request)
        if operation.body == "*":
            request: Any = decoder.json(_encode(body or {}))
        else:
            fields: dict[str, Any] = {}
            decoder.query(urlencode(query, doseq=True).encode(), frozenset(names), fields)
            request = operation.request(**fields)
        for name, value in zip(names, values, strict=True):
            setattr(request, name, value)
        return msgspec.json.decode(_encode(await operation.handler(Call(operation, self._caller), request)))


class Recorder:
    """Keeps the events of some types in the order in which they were published."""

    def __init__(self, events: EventBus, *kinds: type) -> None:
        self.seen: list[Any] = []
        for kind in kinds:
            events.subscribe(kind, self._keep)

    async def _keep(self, event: Any) -> None:
        self.seen.append(event)

    def take(self) -> list[Any]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, []
        return seen
