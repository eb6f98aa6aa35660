"""Fills a node's database with a population: 100,000 players with 50 friends each, 10,000 groups, a board of a million.

Run between two lives of a node: its first one makes the tables, the callers and the boards.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench import servers
from palestra.cluster.cache import Caches
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing, Sealer
from palestra.features.accounts.contract import IdentityKind
from palestra.features.accounts.store import AccountStore

PLAYERS = 100_000
CALLERS = 2_000
"""Those among the players who log in, and make the requests."""
SHOWN = 20_000
"""Players whose ids the requests know."""
GROUPS = 10_000
OWNERS = 1_000_000
LOAD_SECONDS_MAX = 120

# The players stand in a ring; each is a friend of those at these distances, to either side. Nobody stands so near the
# opposite point that two ways lead to the same friend.
DISTANCES = [1 + number * 1_907 + number * number * 37 % 911 for number in range(25)]

PEOPLE = f"""
CREATE SCHEMA bench;
CREATE TABLE bench.people (n integer PRIMARY KEY, id uuid NOT NULL, username text NOT NULL);
INSERT INTO bench.people
SELECT row_number() OVER (ORDER BY username) - 1, id, username FROM users;
INSERT INTO bench.people
SELECT n, md5('player ' || n)::uuid, 'player-' || n
FROM generate_series((SELECT count(*) FROM bench.people), {PLAYERS - 1}) AS n;
ANALYZE bench.people;
"""
"""The numbers of the players: the callers first."""

FILLS = {
    "users": """
        INSERT INTO users (id, username, display_name, avatar_url, edge_count)
        SELECT id, username, 'Player ' || n, 'https://cdn.example.com/avatars/' || n || '.png', 50 FROM bench.people
        ON CONFLICT (id) DO UPDATE
        SET display_name = excluded.display_name, avatar_url = excluded.avatar_url, edge_count = 50
    """,
    "friends": f"""
        INSERT INTO friends (user_id, friend_id, state, position)
        SELECT a.id, b.id, 0, 1700000000000000000 + abs(side * place) * 2 + (side > 0)::integer
        FROM bench.people a
        CROSS JOIN unnest(ARRAY{DISTANCES}) WITH ORDINALITY AS d (distance, place)
        CROSS JOIN (VALUES (1), (-1)) AS s (side)
        JOIN bench.people b ON b.n = (a.n + side * distance + {PLAYERS}) % {PLAYERS}
    """,
    "groups": f"""
        INSERT INTO groups (id, creator_id, name, description, lang_tag, open, edge_count, max_count, updated_at)
        SELECT md5('group ' || g)::uuid, p.id, 'group-' || g, 'The group number ' || g,
            (ARRAY['en', 'de', 'fr', 'es', 'ja'])[1 + g % 5], g % 4 > 0, 30, 10000, now() - g * interval '1 minute'
        FROM generate_series(0, {GROUPS - 1}) AS g JOIN bench.people p ON p.n = g % {PLAYERS}
    """,
    "group_members": f"""
        INSERT INTO group_members (group_id, user_id, state, position)
        SELECT md5('group ' || g)::uuid, id, CASE WHEN place = 1 THEN 0 WHEN place < 4 THEN 1 ELSE 2 END,
            1700000000000000000 + place
        FROM (
            SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY n, nth) AS place
            FROM bench.people CROSS JOIN generate_series(0, 2) AS nth
            CROSS JOIN LATERAL (SELECT (n * 7919 + nth) % {GROUPS} AS g) AS chosen
        ) AS placed
    """,
    "notifications": f"""
        INSERT INTO notifications (id, user_id, subject, content, code, sender_id, created_at)
        SELECT (lpad(to_hex(n), 8, '0') || '-' || lpad(to_hex(k), 4, '0') || '-4000-8000-000000000000')::uuid, id,
            'A gift', '{{"coins": 10, "from": "a friend"}}', 1, '00000000-0000-0000-0000-000000000000',
            now() - k * interval '1 hour'
        FROM bench.people CROSS JOIN generate_series(0, 199) AS k WHERE n < {CALLERS} OR k < 3
    """,
    "messages": f"""
        INSERT INTO messages (id, channel_id, sender_id, username, content, created_at)
        SELECT md5('message ' || g || ' ' || k)::uuid, '3.' || md5('group ' || g)::uuid || '..', p.id, p.username,
            '{{"text": "the quick brown fox jumps over the lazy dog"}}', now() - k * interval '1 minute'
        FROM generate_series(0, {GROUPS - 1}) AS g CROSS JOIN generate_series(1, 30) AS k
        JOIN bench.people p ON p.n = (g * 30 + k) % {PLAYERS}
    """,
    "objects": """
        INSERT INTO objects (collection, key, user_id, value, version, permission_read, permission_write)
        SELECT 'saves', 'slot' || k, id, value, md5(value::text), 1 + (k = 1)::integer, 1
        FROM bench.people CROSS JOIN generate_series(1, 10) AS k
        CROSS JOIN LATERAL (SELECT jsonb_build_object('level', n % 100, 'hp', 100, 'items', ARRAY[1, 2, 3, k]) AS value)
            AS made
    """,
    "leaderboard_records": f"""
        INSERT INTO leaderboard_records (leaderboard_id, owner_id, username, score, subscore)
        SELECT board, coalesce(p.id, md5('owner ' || n)::uuid), coalesce(p.username, 'owner-' || n),
            abs(hashint4(n)) % 100000000, 0
        FROM (SELECT 'million' AS board, n FROM generate_series(0, {OWNERS - 1}) AS n
            UNION ALL SELECT 'thousand', n FROM generate_series(0, 999) AS n) AS wanted
        LEFT JOIN bench.people p USING (n)
    """,
    "subscriptions": f"""
        INSERT INTO subscriptions (store, original_id, player_id, product_id, environment, response, notification,
            purchase_time, create_time, update_time, expiry_time, stated_at)
        SELECT 0, 'subscription-' || n || '-' || k, id, 'product-' || k, 2, '{{"status": 1}}', '', now(), now(), now(),
            now() + interval '30 days', now()
        FROM bench.people CROSS JOIN generate_series(1, 3) AS k WHERE n < {CALLERS}
    """,
}
"""A statement for each table. References are right by construction, and not checked while the rows go in."""


def enter(port: int, tokens: Sequence[str]) -> None:
    """A score in the tournament for each caller."""
    for number, token in enumerate(tokens):
        _call(port, "POST", "/v2/tournament/cup", token, f'{{"score":"{number}"}}')


def wait_for_ranks(port: int, token: str) -> None:
    """Until the node knows how many owners its largest board has."""
    deadline = time.monotonic() + LOAD_SECONDS_MAX
    while int(_call(port, "GET", "/v2/leaderboard/million?limit=1", token).get("rank_count", 0)) < OWNERS:
        if time.monotonic() > deadline:
            raise servers.Failed(f"ranks were not loaded within {LOAD_SECONDS_MAX} s")
        time.sleep(0.2)


def _call(port: int, method: str, path: str, token: str, body: str | None = None) -> dict[str, Any]:
    status, text = servers.call(port, method, path, body, f"Bearer {token}")
    if status != 200:
        raise servers.Failed(f"{method} {path}: {status} {text[:200].decode(errors='replace')}")
    return json.loads(text)


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def fill(database_url: str, key_ring: Path, tokens: Sequence[str], file: Path, say: Callable[[str], None]) -> None:
    """Fill the tables, and write into `file` who makes which requests. `tokens` are the callers'."""
    file.write_text("\n".join(asyncio.run(_fill(database_url, key_ring, tokens, say))) + "\n")


async def _fill(database_url: str, key_ring: Path, tokens: Sequence[str], say: Callable[[str], None]) -> list[str]:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica; SET maintenance_work_mem = '256MB'")
        await connection.execute(PEOPLE)
        for table, statement in FILLS.items():
            async with _without_indexes(connection, table):
                done = await connection.execute(statement)
            say(f"{table:<20} {int(done.rpartition(' ')[2]):>9,} rows")
        await _identities(connection, database_url, key_ring)
        say("vacuum, analyze and checkpoint")
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        return await _targets(connection, tokens)
    finally:
        await connection.close()


@asynccontextmanager
async def _without_indexes(connection: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """Fill a table, then index it: several times as fast. Empty tables only, whose keys nothing refers to."""
    if table in ("users", "groups"):
        yield
        return
    found = await connection.fetch(
        "SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS text, i.indisprimary"
        " FROM pg_index i WHERE i.indrelid = $1::regclass",
        table,
    )
    for name, _, primary in found:
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}" if primary else f"DROP INDEX {name}"
        await connection.execute(drop)
    yield
    for name, text, primary in found:
        await connection.execute(text)
        if primary:
            await connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY USING INDEX {name}")


async def _identities(connection: asyncpg.Connection, database_url: str, key_ring: Path) -> None:
    """A device for each player who has not logged in, sealed with the keys of the node."""
    caches = Caches(Tasks(), CacheSettings())
    store = AccountStore(Database(database_url), DatabaseSettings(), Sealer(KeyRing.load_or_create(key_ring)), caches)
    kind, rows = IdentityKind.DEVICE, []
    for number, user_id in await connection.fetch("SELECT n, id FROM bench.people WHERE n >= $1", CALLERS):
        device = f"population-{number:06d}"
        lookup = store.lookup(kind, device)
        rows.append((kind, lookup, user_id, store.seal(kind, str(user_id), lookup, device)))
    columns = ["kind", "lookup", "user_id", "sealed"]
    await connection.copy_records_to_table("identities", records=rows, columns=columns)


async def _targets(connection: asyncpg.Connection, tokens: Sequence[str]) -> list[str]:
    """What the requests name, a line each: callers with a group of theirs, players, groups."""
    token_of = {_claims(token)["uid"]: token for token in tokens}
    lines = []
    for number, user_id, username in await connection.fetch("SELECT * FROM bench.people ORDER BY n LIMIT $1", SHOWN):
        if (token := token_of.get(str(user_id))) is not None:
            group = await connection.fetchval("SELECT md5('group ' || $1::integer)::uuid::text", number * 7919 % GROUPS)
            lines.append(f"caller\t{token}\t{user_id}\t{username}\t{group}")
        else:
            lines.append(f"player\t{user_id}\t{username}")
    return [*lines, *(f"group\t{row[0]}" for row in await connection.fetch("SELECT id FROM groups"))]
