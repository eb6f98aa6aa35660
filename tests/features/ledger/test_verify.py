"""The proof of a ledger: what is whole is found whole, and whatever is changed is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from palestra.core.errors import SetupError
from palestra.database import migrate as migrations
from palestra.database.migrate import migrate
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.ledger.audit import LedgerAudit
from palestra.features.ledger.chain import FIRST_HASH, content, link
from palestra.features.ledger.roots import PURPOSE, Head, Root, sign
from palestra.features.ledger.verify import Trust, Verdict, verify
from tests.features.ledger.audited import DAY_SECONDS, Keys, World, world

COLUMNS = (
    "id, entry, step, debit, credit, amount, debit_after, credit_after, hold, expires_at, kind, reference, metadata"
)


def first(verdict: Verdict) -> str:
    """Where the first fault is, with what it means."""
    assert verdict.fault_count
    return f"{verdict.faults[0].where}: {verdict.faults[0].meaning}"


async def history(w: World) -> list[int]:
    """Six lines on one strand: a grant, moves of 1 to 4 coins, and a hold; their ids."""
    ids = [(await w.grant(100)).entry]
    for amount in (1, 2, 3, 4):
        ids.append((await w.move(amount)).entry)
    ids.append(await w.hold(5))
    return ids


# -- what is whole


@pytest.mark.parametrize("seed", range(4))
async def test_a_ledger_of_random_entries_of_two_nodes_is_whole(database: Database, seed: int) -> None:
    async with world(database) as w:
        await w.live(seed, entries=100)
        await w.audit.sign_root()
        w.clock.advance(DAY_SECONDS)
        await w.live(seed + 100, entries=100)
        await w.audit.sign_root()
        verdict = await w.verdict()
        assert verdict.faults == []
        assert verdict.lines == len(await w.lines()) > 50
        assert (verdict.accounts, verdict.assets, verdict.roots) == (12, 2, 2)
        shared = await database.fetchval("SELECT sum(lines) FROM ledger_strands WHERE shared")
        open_holds = await database.fetchval("SELECT count(*) FROM ledger_holds WHERE status = 0")
        assert shared > 0 and verdict.open_holds == open_holds


async def test_an_empty_ledger_is_whole(database: Database) -> None:
    async with world(database) as w:
        assert (await w.verdict()).fault_count == 0


async def test_more_lines_than_a_chunk_holds_are_all_proved(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palestra.features.ledger.verify.CHUNK_ROWS", 7)
    async with world(database) as w:
        await w.live(5)
        verdict = await w.verdict()
        assert verdict.faults == [] and verdict.lines > 7


async def test_lines_of_a_shared_strand_follow_each_other_when_the_clock_of_the_next_node_is_slow(
    database: Database,
) -> None:
    async with world(database) as w:
        fast, slow = w.nodes
        w.clock.advance(60)
        async with database.transaction() as tx:
            await fast.submit(w.granting(5, 0), tx)
        w.clock.advance(-60)
        async with database.transaction() as tx:
            await slow.submit(w.granting(5, 1), tx)
        assert (await w.verdict()).faults == []


async def test_wallets_of_the_old_schema_open_with_lines_that_are_proved(postgres_url: str, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    folder = Path(migrations.__file__).parent / "migrations"
    for name in ("0001_spine.sql", "0002_group_lists.sql"):
        shutil.copy(folder / name, old)
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(postgres_url.replace("/postgres?", f"/{name}?"))
    try:
        await migrate(connection, folder=old)
        await connection.execute("""
            INSERT INTO users (id, username) SELECT md5(i::text)::uuid, 'player ' || i FROM generate_series(1, 50) AS i;
            INSERT INTO wallets (user_id, asset, amount)
            SELECT id, asset, row_number() OVER (PARTITION BY asset) - 1
            FROM users, (VALUES ('coins'), ('gems')) AS assets (asset);
        """)
        await migrate(connection)
        verdict = await verify(connection, Trust(), lambda done, total: None)
        assert verdict.faults == []
        assert (verdict.lines, verdict.accounts, verdict.strands) == (98, 102, 1)
        assert await connection.fetchval("SELECT sum(balance) FROM ledger_balances WHERE balance > 0") == 49 * 50
    finally:
        await connection.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


# -- what is changed


async def test_a_line_whose_amount_was_changed_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper("UPDATE ledger_lines SET amount = 50 WHERE id = $1", ids[2])
        verdict = await w.verdict()
        assert first(verdict) == f"line {ids[2]}: it was changed"
        assert verdict.faults[0].expected.startswith("hash ") and verdict.faults[0].found.startswith("hash ")
        assert f"account {w.wallets[0][0].id}" in {fault.where for fault in verdict.faults}


@pytest.mark.parametrize("column", ["kind", "reference", "metadata", "entry", "credit_after", "hash"])
async def test_a_line_of_which_anything_was_changed_is_named(database: Database, column: str) -> None:
    async with world(database) as w:
        ids = await history(w)
        other = {"entry": "1", "credit_after": "7", "hash": "sha256('')"}.get(column, "'other'")
        await w.tamper(f"UPDATE ledger_lines SET {column} = {other} WHERE id = $1", ids[2])
        assert first(await w.verdict()) == f"line {ids[2]}: it was changed"


async def test_the_line_after_one_that_was_removed_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper("DELETE FROM ledger_lines WHERE id = $1", ids[2])
        named = first(await w.verdict())
        assert named.startswith(f"line {ids[3]}: lines before it on strand ") and "removed, 1 of" in named


async def test_the_line_before_those_that_were_removed_from_the_end_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper("DELETE FROM ledger_lines WHERE id >= $1", ids[4])
        verdict = await w.verdict()
        assert first(verdict).startswith(f"line {ids[3]}: 2 lines of strand ")
        assert (verdict.faults[0].expected, verdict.faults[0].found) == ("6 lines", "4 lines")


@pytest.mark.parametrize("linked", [True, False], ids=["linked to the line before", "with any hash"])
@pytest.mark.parametrize("place", [0, 2, 5], ids=["first", "between", "last"])
async def test_a_line_that_was_put_in_is_named(database: Database, place: int, linked: bool) -> None:
    async with world(database) as w:
        ids = await history(w)
        lines = await w.lines()
        forged = ids[place] + 1 if place else ids[0] - 1
        before = lines[place]["hash"] if place else FIRST_HASH
        debit, credit = w.mints[0].id, w.wallets[0][4].id
        text = content(forged, forged, 0, debit, credit, 9, None, 9, None, None, "grant", "", "")
        digest = link(before, text) if linked else link(b"no", text)
        await w.tamper(
            f"INSERT INTO ledger_lines ({COLUMNS}, strand, hash) "
            "VALUES ($1, $1, 0, $2, $3, 9, NULL, 9, NULL, NULL, 'grant', '', '', $4, $5)",
            forged, debit, credit, lines[0]["strand"], digest,
        )  # fmt: skip
        verdict = await w.verdict()
        if place == 5 and not linked:
            # Nothing follows it that could tell it from a line that was changed.
            assert verdict.faults[0].where == f"line {forged}"
        else:
            assert first(verdict).startswith(f"line {forged}: it was put in")
        assert f"account {credit}" in {fault.where for fault in verdict.faults}


async def test_a_line_on_a_strand_that_does_not_exist_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper("UPDATE ledger_lines SET strand = 999 WHERE id = $1", ids[5])
        assert first(await w.verdict()) == f"line {ids[5]}: it was put in: there is no strand 999"


async def test_the_first_of_two_lines_that_changed_places_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        swap = "UPDATE ledger_lines SET id = $2 WHERE id = $1"
        await w.tamper(swap, ids[1], 1)
        await w.tamper(swap, ids[3], ids[1])
        await w.tamper(swap, 1, ids[3])
        assert first(await w.verdict()) == f"line {ids[1]}: it was changed"


async def rewritten(w: World, line_id: int, amount: int) -> None:
    """Change an amount and make all of it agree: hashes, what accounts had after, the head and the balances."""
    lines = await w.lines()
    head, shift = FIRST_HASH, 0
    for line in lines:
        fields = {**line}
        if line["id"] == line_id:
            shift = amount - line["amount"]
            fields["amount"] = amount
        if shift and line["debit_after"] is not None:
            fields["debit_after"] -= shift
        if shift:
            fields["credit_after"] += shift
        head = link(head, content(*(fields[name] for name in COLUMNS.split(", "))))
        await w.tamper(
            "UPDATE ledger_lines SET amount = $2, debit_after = $3, credit_after = $4, hash = $5 WHERE id = $1",
            line["id"], fields["amount"], fields["debit_after"], fields["credit_after"], head,
        )  # fmt: skip
    await w.tamper("UPDATE ledger_strands SET hash = $1 WHERE id = $2", head, lines[0]["strand"])
    for account, change in ((w.wallets[0][0], -shift), (w.wallets[0][1], shift)):
        await w.tamper("UPDATE ledger_balances SET balance = balance + $1 WHERE account_id = $2", change, account.id)


async def test_a_strand_that_was_written_anew_agrees_with_itself_and_not_with_the_root(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await rewritten(w, ids[2], 12)
        assert (await w.verdict()).faults == [], "the forgery is perfect as long as nothing was signed"
        await w.audit.sign_root()
        await rewritten(w, ids[2], 2)
        verdict = await w.verdict()
        assert first(verdict).startswith(f"line {ids[5]}: it is not what the root of 2025-06-15 was signed over")
        assert verdict.fault_count == 1


async def test_a_strand_that_is_gone_is_missed_by_the_root(database: Database) -> None:
    async with world(database) as w:
        await history(w)
        await w.audit.sign_root()
        await w.tamper("TRUNCATE ledger_strands, ledger_lines, ledger_holds")
        await w.tamper("UPDATE ledger_balances SET balance = 0, held = 0")
        verdict = await w.verdict()
        assert "it is gone, and the root of 2025-06-15 knows it" in first(verdict)


async def test_lines_that_were_removed_along_with_their_count_are_missed_by_the_root(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.audit.sign_root()
        lines = await w.lines()
        await w.tamper("DELETE FROM ledger_lines WHERE id > $1", ids[4])
        await w.tamper("DELETE FROM ledger_holds")
        await w.tamper("UPDATE ledger_balances SET held = 0")
        await w.tamper("UPDATE ledger_strands SET lines = 5, last = $1, hash = $2", ids[4], lines[4]["hash"])
        verdict = await w.verdict()
        assert first(verdict).startswith(f"line {ids[4]}: ") and "along with their count" in first(verdict)


@pytest.mark.parametrize("change", ["hash = sha256('x')", "last = last + 1", "lines = lines + 1"])
async def test_a_head_that_was_changed_is_named(database: Database, change: str) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper(f"UPDATE ledger_strands SET {change}")
        assert first(await w.verdict()).startswith((f"line {ids[5]}: 1 lines of strand", "strand 1: its head was"))


async def test_a_balance_that_was_changed_is_named_with_both_numbers(database: Database) -> None:
    async with world(database) as w:
        await history(w)
        account = w.wallets[0][1].id
        await w.tamper("UPDATE ledger_balances SET balance = balance + 1000 WHERE account_id = $1", account)
        verdict = await w.verdict()
        assert first(verdict) == f"account {account}: its balance is not the sum of its lines"
        assert (verdict.faults[0].expected, verdict.faults[0].found) == ("10", "1010")
        assert [fault.where for fault in verdict.faults] == [f"account {account}", "asset coins"]


async def test_a_balance_that_is_gone_is_named(database: Database) -> None:
    async with world(database) as w:
        await history(w)
        account = w.wallets[0][1].id
        await w.tamper("DELETE FROM ledger_balances WHERE account_id = $1", account)
        assert first(await w.verdict()) == f"account {account}: its balance is gone"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE ledger_holds SET amount = 1", "the hold was changed"),
        ("UPDATE ledger_holds SET credit = debit + 2", "the hold was changed"),
        ("UPDATE ledger_holds SET expires_at = 2000000000", "the hold was changed"),
        ("UPDATE ledger_holds SET status = 3", "no line ended it"),
        ("DELETE FROM ledger_holds", "the hold was changed"),
    ],
)
async def test_a_hold_that_was_changed_is_named(database: Database, change: str, said: str) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.tamper(change)
        assert first(await w.verdict()).startswith(f"hold {ids[5]}: ")
        assert said in first(await w.verdict())


async def test_a_hold_that_was_opened_again_or_put_in_is_named(database: Database) -> None:
    async with world(database) as w:
        ids = await history(w)
        await w.end(ids[5])
        await w.tamper("UPDATE ledger_holds SET status = 0")
        assert first(await w.verdict()).startswith(f"hold {ids[5]}: ")
        await w.tamper("UPDATE ledger_holds SET status = 3")
        await w.tamper("INSERT INTO ledger_holds (id, debit, credit, amount, expires_at) VALUES (77, 1, 2, 5, 2e9)")
        assert first(await w.verdict()) == "hold 77: no line made it: it was put in"


# -- roots


async def signed_days(w: World, days: int) -> list[Root]:
    """A root a day, with a grant before each."""
    roots = []
    for _ in range(days):
        await w.grant(10)
        root = await w.audit.sign_root()
        assert root is not None
        roots.append(root)
        w.clock.advance(DAY_SECONDS)
    return roots


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("heads = '1 1 1 00\n'", "its heads, time or hash were changed"),
        ("heads = 'nonsense'", "its heads, time or hash were changed"),
        ("root = sha256('x')", "its heads, time or hash were changed"),
        ("signed_at = signed_at + interval '1 second'", "its heads, time or hash were changed"),
        ("signature = sha256('x') || sha256('y')", "its signature is wrong"),
        ("signature = ''", "its signature is wrong"),
        ("previous = sha256('x')", "it does not follow the root before it"),
    ],
)
async def test_a_root_that_was_changed_is_named(database: Database, change: str, said: str) -> None:
    async with world(database) as w:
        roots = await signed_days(w, 3)
        await w.tamper(f"UPDATE ledger_roots SET {change} WHERE day = $1", roots[1].day)
        assert first(await w.verdict()).startswith(f"root of {roots[1].day}: {said}")


async def test_a_root_that_is_gone_is_missed_by_the_next_and_by_who_kept_it(database: Database) -> None:
    async with world(database) as w:
        roots = await signed_days(w, 3)
        assert (await w.verdict(Trust(root=roots[2].root))).faults == []
        await w.tamper("DELETE FROM ledger_roots WHERE day = $1", roots[1].day)
        assert first(await w.verdict()).startswith(f"root of {roots[2].day}: it does not follow the root before it")
        await w.tamper("DELETE FROM ledger_roots")
        assert (await w.verdict()).faults == [], "nobody here can know"
        assert first(await w.verdict(Trust(root=roots[2].root))).startswith("roots: the root that you have kept is not")


async def test_a_forged_root_is_signed_by_another_key(database: Database) -> None:
    async with world(database) as w:
        roots = await signed_days(w, 1)
        heads = [Head(*row) for row in await database.fetch("SELECT id, lines, last, hash FROM ledger_strands")]
        forged = sign(None, roots[0].signed_at, heads, "00000001", Sealer(Keys(9)).signing_key(PURPOSE)[1])
        await w.tamper("UPDATE ledger_roots SET signature = $1, public_key = $2", forged.signature, forged.public_key)
        assert (await w.verdict()).faults == [], "who trusts the keys beside the signatures sees nothing"
        own, said = Sealer(Keys()), f"root of {forged.day}: it is signed by another key"
        assert first(await w.verdict(Trust([roots[0].public_key]))) == said
        assert first(await w.verdict(Trust(own_key=lambda key_id: public_key(own, key_id)))) == said
        assert (await w.verdict(Trust([forged.public_key, roots[0].public_key]))).faults == []
        await w.tamper("UPDATE ledger_roots SET key_id = '00000009'")
        assert first(await w.verdict(Trust(own_key=lambda key_id: public_key(own, key_id)))) == said


def public_key(sealer: Sealer, key_id: str) -> bytes | None:
    try:
        return sealer.signing_key(PURPOSE, key_id)[1].public_key().public_bytes_raw()
    except KeyError:
        return None


async def test_a_day_has_one_root_whoever_signs_and_heads_that_did_not_move_are_left_out(database: Database) -> None:
    async with world(database) as w:
        root = (await signed_days(w, 1))[0]
        other = LedgerAudit(database, Sealer(Keys()), w.clock)
        second = await other.sign_root()
        assert second is not None and second.previous == root.root and second.heads == ""
        assert await w.audit.sign_root() is None
        assert (await w.verdict()).faults == []


async def test_keys_of_roots_differ_by_purpose_and_are_the_same_everywhere() -> None:
    one, other = Sealer(Keys()), Sealer(Keys())
    assert public_key(one, "00000001") == public_key(other, "00000001")
    assert one.signing_key("else")[1].public_key().public_bytes_raw() != public_key(one, "00000001")
    with pytest.raises(KeyError):
        one.signing_key(PURPOSE, "00000002")


# -- from a day on


async def test_from_a_day_on_only_what_came_after_is_proved(database: Database) -> None:
    async with world(database) as w:
        await w.live(7)
        await w.grant(50)
        hold = await w.hold(5)
        w.clock.advance(700)
        await w.audit.take_snapshots()
        w.clock.advance(700)
        await w.end(hold)
        root = await w.audit.sign_root()
        assert root is not None
        w.clock.advance(DAY_SECONDS)
        await w.live(8)
        await w.audit.sign_root()
        later = (await w.grant(5)).entry
        everything, verdict = await w.verdict(), await w.verdict(since=root.day)
        assert (everything.faults, verdict.faults) == ([], [])
        assert 1 < verdict.lines < everything.lines
        await w.tamper("UPDATE ledger_lines SET kind = 'x' WHERE id = (SELECT min(id) FROM ledger_lines)")
        assert (await w.verdict(since=root.day)).faults == [], "what was before is believed"
        await w.tamper("UPDATE ledger_lines SET amount = 6 WHERE id = $1", later)
        assert first(await w.verdict(since=root.day)) == f"line {later}: it was changed"


async def test_from_a_day_without_root_or_snapshots_nothing_is_proved(database: Database) -> None:
    async with world(database) as w:
        day = (await signed_days(w, 1))[0].day
        with pytest.raises(SetupError, match="verify the whole ledger"):
            await w.verdict(since=day.replace(year=2020))
        with pytest.raises(SetupError, match=f"no snapshots from before the root of {day}"):
            await w.verdict(since=day)
