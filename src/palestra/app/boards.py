"""Leaderboards and tournaments, built by hand: with ranks of the node's own, or with those that nodes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from palestra.cluster.cache import Caches
from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.cluster.scripts import Scripts
from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.core.events import EventBus
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.leaderboards.announcer import Announcer
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.neighbours import Neighbours
from palestra.features.leaderboards.rank_builder import RankBuilder
from palestra.features.leaderboards.rank_sharing import SCRIPT, SharedRanking
from palestra.features.leaderboards.ranked import Ranked
from palestra.features.leaderboards.service import LeaderboardService
from palestra.features.leaderboards.store import LeaderboardStore
from palestra.features.leaderboards.tournament_store import TournamentStore
from palestra.features.leaderboards.tournaments import TournamentService


@dataclass(slots=True, frozen=True)
class Boards:
    """The parts of the feature. `stores` are to be stopped in this order; `sharing` is None for a node alone."""

    known: KnownBoards
    leaderboards: LeaderboardService
    tournaments: TournamentService
    announcer: Announcer
    sharing: SharedRanking | None
    stores: list[Any]


def build_boards(
    settings: Settings,
    database: Database,
    cluster: Cluster,
    caches: Caches,
    events: EventBus,
    tasks: Tasks,
    clock: Clock,
) -> Boards:
    """Make and connect them."""
    limits = settings.database
    if cluster.alone:
        ranked = sharing = neighbours = None
    else:
        ranked, scripts = Ranked(database, limits), Scripts(settings.redis_url, SCRIPT, tasks)
        builder = RankBuilder(scripts, database, tasks)
        sharing = SharedRanking(scripts, builder, tasks, cluster.node, settings.cluster.name)
        neighbours = Neighbours(cluster.bus, lambda: [node.name for node in cluster.members], tasks, clock)
    store = LeaderboardStore(database, limits, caches, ranked)
    tournament_store = TournamentStore(database, limits, caches, ranked)
    known = KnownBoards(store, tasks, clock, sharing and sharing.ranks_of, neighbours and neighbours.changed)
    if sharing is not None and neighbours is not None:
        _follow(cluster, known, sharing, neighbours, tasks)
    leaderboards = LeaderboardService(store, known, clock)
    return Boards(
        known=known,
        leaderboards=leaderboards,
        tournaments=TournamentService(tournament_store, store, known, leaderboards, clock),
        announcer=Announcer(known, store, tournament_store, events, tasks, clock, neighbours),
        sharing=sharing,
        stores=[part for part in (store, tournament_store, ranked, sharing) if part is not None],
    )


def _follow(cluster: Cluster, known: KnownBoards, sharing: SharedRanking, neighbours: Neighbours, tasks: Tasks) -> None:
    def left(node: NodeInfo) -> None:
        # One that was draining has told all it wrote.
        if not node.draining:
            sharing.distrust(node.name, known.shared_ranks())

    neighbours.follow(known)
    cluster.members.on_join(lambda node: neighbours.missed())
    cluster.members.on_leave(left)
    cluster.on_start.append(lambda: tasks.spawn(sharing.start(), "ranks in Valkey"))
