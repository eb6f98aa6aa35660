"""A provider's day: the report that is kept, and a feed laid beside the ledger, by service and by command."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from palestra.app.build import Services
from palestra.core.clock import ManualClock
from palestra.features.providers.contract import Report, UnknownProvider
from palestra.features.providers.feed import Malformed
from palestra.features.providers.reconciliation import Mismatch
from palestra.testing import Bot, Platform
from tests.cli.nodes import palestra
from tests.features.providers.conftest import made_game
from tests.features.providers.provider import ASSET, SECRET, SETTINGS, Provider, fresh

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC)
DAY = NOON.date()


class Story:
    """A player, a provider, and a clock that both follow."""

    def __init__(self, platform: Platform, clock: ManualClock, ann: Bot, session: str, acme: Provider) -> None:
        self.clock, self.ann, self.session, self.acme = clock, ann, session, acme
        parts = platform.node.parts
        assert parts is not None
        self.services: Services = parts.services
        self.feed: list[dict[str, Any]] = []

    async def go_to(self, moment: datetime) -> None:
        self.clock.advance(moment.timestamp() - self.clock.now())
        self.acme.ahead_seconds = follow(self.clock)
        await self.ann.log_in()
        self.session = await self.acme.begin(self.ann)

    async def play(self, stake: int, win: int = 0, undo: bool = False) -> None:
        """A round, told to the feed as it was."""
        first, second = fresh(), fresh()
        await self.acme.debit(self.ann, self.session, stake, transaction_id=first)
        self.tell("debit", first, stake)
        if undo:
            await self.acme.rollback(self.ann, first)
            self.tell("rollback", first, stake)
        if win:
            await self.acme.credit(self.ann, win, transaction_id=second)
            self.tell("credit", second, win)

    def tell(self, kind: str, transaction_id: str, amount: int) -> None:
        self.feed.append(
            {
                "kind": kind,
                "transaction_id": transaction_id,
                "player_id": self.ann.id,
                "asset": ASSET,
                "amount": amount,
            }
        )

    def text(self) -> str:
        return "\n".join(map(json.dumps, self.feed)) + "\n"

    async def compare(self, text: str | None = None) -> tuple[list[str], tuple[int, int, int, int]]:
        told: list[Mismatch | Malformed] = []
        file = io.BytesIO((self.text() if text is None else text).encode())
        found = await self.services.money.reconciliation.compare("acme", DAY, file, "ndjson", told.append)
        names = [one.name if isinstance(one, Mismatch) else f"malformed {one.line}" for one in told]
        return names, (found.here, found.feed, found.mismatches, found.malformed)


def follow(clock: ManualClock) -> int:
    """How far the clock is ahead of the machine's."""
    return int(clock.now() - datetime.now(UTC).timestamp())


@pytest_asyncio.fixture
async def story(database_url: str) -> AsyncIterator[Story]:
    clock = ManualClock(NOON.timestamp())
    async with Platform.start(made_game(), settings=SETTINGS, database_url=database_url, clock=clock) as platform:
        acme, ann = Provider(platform), await platform.bot()
        acme.ahead_seconds = follow(clock)
        await ann.rpc("gift", {"amount": 10_000})
        yield Story(platform, clock, ann, await acme.begin(ann), acme)


async def test_a_report_adds_the_day_up_and_is_kept(story: Story) -> None:
    await story.play(30, win=50)
    await story.play(20, undo=True)
    await story.play(7)
    await story.acme.rollback(story.ann, fresh())
    wanted = Report("acme", ASSET, DAY, debits=3, debited=57, credits=1, credited=50, rollbacks=1, rolled_back=20)
    nothing = Report("acme", "gems", DAY, 0, 0, 0, 0, 0, 0)
    days = story.services.money.provider_days
    made = await days.report(DAY)
    assert [report for report in made if report.provider == "acme"] == [wanted, nothing]
    assert wanted.net == -13
    # Made again it takes the earlier one's place.
    await story.play(1)
    await days.report(DAY)
    assert [report.debits for report in await days.kept("acme", DAY)] == [4, 0]
    assert await days.kept("acme", DAY + timedelta(days=1)) == []
    with pytest.raises(UnknownProvider):
        await days.assets("nobody")


async def test_an_asset_that_left_the_settings_is_reported_and_compared_all_the_same(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story.play(30, win=50)
    days = story.services.money.provider_days
    monkeypatch.setattr(
        days, "_settings", {"acme": msgspec.structs.replace(SETTINGS.providers["acme"], assets=("gems",))}
    )
    assert await days.assets("acme") == ["gems", ASSET]
    reports = {report.asset: (report.debited, report.credited) for report in await days.report(DAY)}
    assert reports == {"gems": (0, 0), ASSET: (30, 50)}
    assert await story.compare() == ([], (2, 2, 0, 0))
    assert (await story.compare(""))[1] == (2, 0, 2, 0)


async def test_reports_and_feeds_of_many_pages_are_whole(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palestra.features.providers.reports.PAGE_LINES_MAX", 3)
    for stake in range(1, 11):
        await story.play(stake, win=stake)
    report = (await story.services.money.provider_days.report(DAY))[0]
    assert (report.debits, report.debited, report.credits, report.credited) == (10, 55, 10, 55)
    assert await story.compare() == ([], (20, 20, 0, 0))


async def test_a_true_feed_differs_in_nothing_and_a_false_one_is_told_by_name(story: Story) -> None:
    await story.play(30, win=50)
    await story.play(20, undo=True)
    assert await story.compare() == ([], (4, 4, 0, 0))
    story.feed[0]["amount"] = 31
    del story.feed[3]
    story.tell("credit", "never-here", 5)
    names, counts = await story.compare(story.text() + "rubbish\n")
    assert names[0] == "malformed 5"
    assert sorted(names[1:]) == ["different amount", "missing here", "missing in the feed"]
    assert counts == (4, 4, 3, 1)
    names, counts = await story.compare("")
    assert (names, counts) == (["missing in the feed"] * 4, (4, 0, 4, 0))


async def test_what_happens_about_midnight_may_be_in_either_days_feed(story: Story) -> None:
    await story.play(1)
    await story.go_to(MIDNIGHT - timedelta(seconds=1))
    await story.play(2)
    await story.go_to(MIDNIGHT + timedelta(seconds=600))
    await story.play(3)
    assert await story.compare() == ([], (2, 3, 0, 0))
    del story.feed[2]
    assert await story.compare() == ([], (2, 2, 0, 0))
    del story.feed[1]
    assert await story.compare() == (["missing in the feed"], (2, 1, 1, 0))
    await story.go_to(MIDNIGHT + timedelta(seconds=1000))
    await story.play(4)
    assert sorted((await story.compare())[0]) == ["missing here", "missing in the feed"]


async def test_the_command_tells_by_its_status_whether_all_is_well(
    story: Story, tmp_path: Path, database_url: str
) -> None:
    await story.play(30, win=50)
    settings = {"acme": {"keys": {"k1": SECRET}, "allow_ips": ["127.0.0.1"], "assets": [ASSET]}}
    feed = tmp_path / "feed.csv"
    lines = [",".join(str(value) for value in row.values()) for row in story.feed]
    feed.write_text("\n".join(["kind,transaction_id,player_id,asset,amount", *lines, ""]))

    def run(*arguments: str) -> tuple[int, str]:
        common = ("--database-url", database_url)
        done = palestra("reconcile", *arguments, *common, cwd=tmp_path, PALESTRA_PROVIDERS=json.dumps(settings))
        return done.returncode, done.stdout + done.stderr

    report = f"acme {ASSET} {DAY}: 1 debits 30, 1 credits 50, 0 rollbacks 0, net -20\n"
    assert run("acme", "--day", str(DAY)) == (0, report)
    fine = f"{report}2 transactions here, 2 in feed.csv: 0 mismatches, 0 malformed lines\n"
    assert run("acme", str(feed), "--day", str(DAY)) == (0, fine)
    feed.write_text(feed.read_text().replace(",30\n", ",31\n") + "\x1b[31mred\n")
    status, told = run("acme", str(feed), "--day", str(DAY))
    first = story.feed[0]["transaction_id"]
    assert status == 1 and f"different amount: debit {first}: 30 here, 31 in line 2\n" in told
    assert "malformed line 4: 1 cells where line 1 has 5\n" in told and "\x1b" not in told
    for arguments, reason in (
        (("acme", "--day", "yesterday"), "write a day as 2026-01-31"),
        (("nobody", "--day", str(DAY)), "no [providers.nobody]"),
        (("acme", "feed.txt", "--day", str(DAY)), "a feed is a file whose name ends in"),
        (("acme", "none.csv", "--day", str(DAY)), "a feed is a file whose name ends in"),
    ):
        status, told = run(*arguments)
        assert status == 1 and reason in told and "Traceback" not in told
