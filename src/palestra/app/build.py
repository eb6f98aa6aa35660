"""Every object of a node, built by hand from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from palestra.app import health, openapi
from palestra.app.absence import follow_absence
from palestra.app.boards import Boards, build_boards
from palestra.app.caches import build_caches
from palestra.app.live import Asked, Live, build_live
from palestra.app.money import Money, build_money
from palestra.app.others import follow_cluster
from palestra.app.providers import Providers, build_providers
from palestra.app.purchases import Purchasing, build_purchases
from palestra.app.replicas import ReplicaReads
from palestra.cluster.cache import Caches
from palestra.cluster.cluster import Cluster, build_cluster
from palestra.core.clock import Clock, SystemClock
from palestra.core.config import ClusterSettings, Settings
from palestra.core.events import EventBus
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.accounts import feature as accounts_feature
from palestra.features.accounts.contract import AccountDeleted, AccountRemoved, UserBanned
from palestra.features.accounts.exports import Exports
from palestra.features.accounts.linking import Linking
from palestra.features.accounts.passwords import Passwords
from palestra.features.accounts.providers import IdentityRoutes
from palestra.features.accounts.routes import AccountRoutes
from palestra.features.accounts.service import AccountService
from palestra.features.accounts.store import AccountStore
from palestra.features.chat import feature as chat_feature
from palestra.features.chat.announcing import Announcements
from palestra.features.chat.routes import ChatRoutes
from palestra.features.chat.store import ChatStore
from palestra.features.events import feature as events_feature
from palestra.features.events.routes import EventRoutes
from palestra.features.events.service import EventService
from palestra.features.fair import feature as fair_feature
from palestra.features.fair.routes import FairRoutes
from palestra.features.friends import feature as friends_feature
from palestra.features.friends.importing import FriendImport
from palestra.features.friends.routes import FriendRoutes
from palestra.features.friends.service import FriendService
from palestra.features.friends.store import FriendStore
from palestra.features.groups import feature as groups_feature
from palestra.features.groups.routes import GroupRoutes
from palestra.features.groups.service import GroupService
from palestra.features.groups.store import GroupStore
from palestra.features.leaderboards import feature as leaderboards_feature
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from palestra.features.leaderboards.routes import LeaderboardRoutes
from palestra.features.leaderboards.tournament_routes import TournamentRoutes
from palestra.features.ledger import feature as ledger_feature
from palestra.features.limits import feature as limits_feature
from palestra.features.limits.routes import LimitRoutes
from palestra.features.nodes.service import NodeService
from palestra.features.nodes.store import NodeStore
from palestra.features.notifications import feature as notifications_feature
from palestra.features.notifications.contract import PlatformCode
from palestra.features.notifications.occasions import Occasions
from palestra.features.notifications.routes import NotificationRoutes
from palestra.features.notifications.service import NotificationService
from palestra.features.notifications.store import NotificationStore
from palestra.features.notifications.wire import last_push
from palestra.features.providers import feature as providers_feature
from palestra.features.providers.routes import ProviderRoutes
from palestra.features.providers.signatures import Signatures
from palestra.features.purchases import feature as purchases_feature
from palestra.features.purchases.routes import PurchaseRoutes
from palestra.features.purchases.store import PurchaseStore
from palestra.features.rounds import feature as rounds_feature
from palestra.features.rounds.routes import RoundRoutes
from palestra.features.rpc import feature as rpc_feature
from palestra.features.rpc.routes import RpcRoutes
from palestra.features.sessions import feature as sessions_feature
from palestra.features.sessions.routes import SessionRoutes
from palestra.features.sessions.service import SessionService
from palestra.features.sessions.store import SessionStore
from palestra.features.storage import feature as storage_feature
from palestra.features.storage.index_store import IndexStore
from palestra.features.storage.indexes import Indexes
from palestra.features.storage.routes import StorageRoutes
from palestra.features.storage.service import StorageService
from palestra.features.storage.store import StorageStore
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.http.app import HttpGateway
from palestra.gateway.http.credentials import Credentials
from palestra.gateway.http.static import StaticFiles
from palestra.gateway.operation import Message, Operation
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.jobs.queue import JobQueue
from palestra.jobs.worker import Worker
from palestra.sdk.bounds import Bounds
from palestra.sdk.context import Platform
from palestra.sdk.runtime import Runtime


@dataclass(slots=True)
class Services:
    """The features, one object each."""

    caches: Caches
    nodes: NodeService
    sessions: SessionService
    accounts: AccountService
    linking: Linking
    passwords: Passwords
    account_store: AccountStore
    money: Money
    identity: Providers
    purchasing: Purchasing
    storage: StorageService
    indexes: Indexes
    boards: Boards
    friends: FriendService
    friend_imports: FriendImport
    groups: GroupService
    notification_store: NotificationStore
    live: Live
    client_events: EventService
    stores: list[Any]


@dataclass(slots=True)
class Parts:
    """What a node starts, serves and stops."""

    settings: Settings
    database: Database
    cluster: Cluster
    tasks: Tasks
    metrics: Metrics
    dispatcher: Dispatcher
    table: list[Operation | Message]
    http: HttpGateway
    sockets: SocketGateway
    static: StaticFiles
    jobs: JobQueue
    worker: Worker
    runtime: Runtime
    platform: Platform
    services: Services
    replica_reads: ReplicaReads | None


class ThrowawayKeys:
    """A key source for looking at the operation table without touching a data directory."""

    active = "00000000"
    index_key = bytes(32)

    def key(self, key_id: str) -> bytes:
        """Always the same key; nothing sealed with it is kept."""
        return bytes(32)


def table() -> list[Operation | Message]:
    """The operation table, without a database or a data directory."""
    return build(Settings(), Database(""), Sealer(ThrowawayKeys()), lambda: False).table


def build(
    settings: Settings,
    database: Database,
    sealer: Sealer,
    ready: Callable[[], bool],
    clock: Clock | None = None,
    cluster: Cluster | None = None,
) -> Parts:
    """Make and connect everything; nothing runs yet. `ready` tells whether the node can serve.

    Without a `cluster` the node is alone.
    """
    clock = clock or SystemClock()
    cluster = cluster or build_cluster(replace(settings, redis_url="", cluster=ClusterSettings()))
    tasks, events = Tasks(), EventBus()
    jobs = JobQueue(database, settings.jobs)
    runtime = Runtime(Bounds(settings.runtime.hook_seconds_max))
    services = _services(settings, database, sealer, cluster, tasks, events, runtime, jobs, clock)
    purchase_jobs = purchases_feature.jobs(services.purchasing.service)
    index_jobs = services.indexes.jobs()
    jobs.declare("platform", [*jobs.jobs(), *services.money.jobs(), *purchase_jobs, *index_jobs])
    rpc = RpcRoutes(runtime)
    messages = [*rpc_feature.messages(rpc), *services.live.messages()]
    dispatcher = Dispatcher(settings.socket.requests_in_flight_max)
    sockets = SocketGateway(
        settings.socket, services.sessions, dispatcher, messages, tasks=tasks, clock=clock, resume=settings.resume
    )
    services.live.follow(sockets, services.client_events, cluster)
    follow_absence(sockets, services.live, settings, clock)
    follow_cluster(cluster, sockets, services.sessions, tasks)
    notifications = NotificationService(services.notification_store, services.live.all_sockets, tasks, clock)
    operations = [
        *health.operations(ready),
        *_operations(services, rpc, clock),
        *notifications_feature.operations(NotificationRoutes(notifications)),
        *openapi.operations(lambda: operations),
    ]
    runtime.table = [*operations, *messages]

    replica_reads = None
    if database.replicas is not None:
        replica_reads = ReplicaReads(database.replicas, clock, None if cluster.alone else cluster.bus)
        replica_reads.follow(runtime.table, dispatcher)
    _connect_events(events, services, notifications, clock)
    chat_feature.subscribe(events, services.live.channels, Announcements(services.live.chat))
    notifications_feature.subscribe(events, Occasions(notifications))
    for kind in (LeaderboardReset, TournamentEnd, TournamentReset):
        events.subscribe(kind, runtime.handle_end)
    static = StaticFiles(live=settings.reload)
    signatures = Signatures(settings.providers, clock)
    credentials = Credentials(services.sessions, settings.socket.server_key, settings.runtime.http_key)
    return Parts(
        settings=settings,
        database=database,
        cluster=cluster,
        tasks=tasks,
        metrics=Metrics(),
        dispatcher=dispatcher,
        table=runtime.table,
        http=HttpGateway(operations, dispatcher, credentials, settings.socket, static, sockets, signatures),
        sockets=sockets,
        static=static,
        jobs=jobs,
        worker=Worker(database, jobs, settings.jobs, clock, tasks),
        runtime=runtime,
        platform=_platform(services, notifications, jobs, sockets, settings, clock),
        services=services,
        replica_reads=replica_reads,
    )


def _services(
    settings: Settings,
    database: Database,
    sealer: Sealer,
    cluster: Cluster,
    tasks: Tasks,
    events: EventBus,
    games: Runtime,
    jobs: JobQueue,
    clock: Clock,
) -> Services:
    limits = settings.database
    nodes = NodeService(NodeStore(database), cluster, clock)
    caches = build_caches(settings, cluster, clock)
    account_store = AccountStore(database, limits, sealer, caches)
    storage_store, indexes = StorageStore(database, limits, caches), Indexes(IndexStore(database), jobs, clock)
    friend_store, group_store = FriendStore(database, limits, caches), GroupStore(database, limits, caches)
    chat_store = ChatStore(database, limits, caches)
    notification_store, purchase_store = NotificationStore(database, limits), PurchaseStore(database, limits)

    sessions = SessionService(SessionStore(database), settings.session, clock, None if cluster.alone else cluster.bus)
    passwords = Passwords()
    presences = PresenceEngine()
    boards = build_boards(settings, database, cluster, caches, events, tasks, clock)
    accounts = AccountService(
        account_store, sessions, passwords, events, presences, Exports(account_store, export_statements(), clock)
    )
    groups = GroupService(group_store, accounts, events, clock)
    money = build_money(settings, database, sealer, accounts, sessions, games, clock)
    identity = build_providers(settings.social, clock)
    friends = FriendService(friend_store, accounts, events, clock)
    asked = Asked(accounts, friends, groups, games, nodes)
    return Services(
        caches=caches,
        nodes=nodes,
        sessions=sessions,
        accounts=accounts,
        linking=Linking(account_store, passwords),
        passwords=passwords,
        account_store=account_store,
        money=money,
        identity=identity,
        purchasing=build_purchases(settings.iap, purchase_store, database, money.ledger, games, jobs, clock),
        storage=StorageService(storage_store, indexes),
        indexes=indexes,
        boards=boards,
        friends=friends,
        friend_imports=FriendImport(friends, accounts, identity.friend_sources),
        groups=groups,
        live=build_live(settings, presences, chat_store, asked, cluster, events, tasks, clock),
        client_events=EventService(clock, tasks, settings.runtime.event_queue_max),
        notification_store=notification_store,
        stores=[
            account_store,
            *money.stores,
            storage_store,
            *boards.stores,
            friend_store,
            group_store,
            chat_store,
            notification_store,
            purchase_store,
        ],
    )


def _operations(s: Services, rpc: RpcRoutes, clock: Clock) -> list[Operation]:
    provider_routes = {
        kind: IdentityRoutes(kind, provider, s.accounts, s.linking, s.friend_imports)
        for kind, provider in s.identity.by_kind.items()
    }
    return [
        *accounts_feature.operations(AccountRoutes(s.accounts, s.linking, s.identity.open_id)),
        *accounts_feature.provider_operations(provider_routes),
        *sessions_feature.operations(SessionRoutes(s.sessions, s.accounts)),
        *storage_feature.operations(StorageRoutes(s.storage)),
        *leaderboards_feature.operations(LeaderboardRoutes(s.boards.leaderboards)),
        *leaderboards_feature.tournament_operations(TournamentRoutes(s.boards.tournaments)),
        *friends_feature.operations(FriendRoutes(s.friends, s.friend_imports)),
        *groups_feature.operations(GroupRoutes(s.groups)),
        *chat_feature.operations(ChatRoutes(s.live.chat)),
        *limits_feature.operations(LimitRoutes(s.money.limits)),
        *fair_feature.operations(FairRoutes(s.money.fair)),
        *rounds_feature.operations(RoundRoutes(s.money.rounds)),
        *purchases_feature.operations(PurchaseRoutes(s.purchasing.service, s.purchasing.notices)),
        *s.live.operations(),
        *events_feature.operations(EventRoutes(s.client_events, clock)),
        *rpc_feature.operations(rpc),
        *providers_feature.operations(ProviderRoutes(s.money.providers, s.money.refusals)),
    ]


def _platform(
    s: Services,
    notifications: NotificationService,
    jobs: JobQueue,
    sockets: SocketGateway,
    settings: Settings,
    clock: Clock,
) -> Platform:
    return Platform(
        accounts=s.accounts,
        users=s.accounts,
        sessions=s.sessions,
        storage=s.storage,
        leaderboards=s.boards.leaderboards,
        tournaments=s.boards.tournaments,
        ledger=s.money.ledger,
        limits=s.money.limits,
        wallet=s.money.wallets,
        matches=s.live.matches,
        matchmaker=s.live.matchmaker,
        parties=s.live.parties,
        sockets=s.live.sockets,
        status=s.live.status,
        streams=s.live.streams,
        friends=s.friends,
        groups=s.groups,
        chat=s.live.chat,
        fair=s.money.fair,
        notifications=notifications,
        rounds=s.money.rounds,
        events=s.client_events,
        providers=s.money.providers,
        purchases=s.purchasing.service,
        jobs=jobs,
        env=settings.runtime.env,
        now=clock.now,
    )


def export_statements() -> dict[str, str]:
    """The sections of a player's export, in their order."""
    return {
        **accounts_feature.export(),
        **sessions_feature.export(),
        **storage_feature.export(),
        **leaderboards_feature.export(),
        **friends_feature.export(),
        **groups_feature.export(),
        **chat_feature.export(),
        **notifications_feature.export(),
        **ledger_feature.export(),
        **rounds_feature.export(),
        **purchases_feature.export(),
        **limits_feature.export(),
        **fair_feature.export(),
    }


def _connect_events(events: EventBus, s: Services, notifications: NotificationService, clock: Clock) -> None:
    """Who does what when a player is deleted or banned."""
    owners: Iterable[Any] = (
        s.storage,
        s.boards.leaderboards,
        s.money.ledger,
        s.money.rounds,
        s.purchasing.service,
        s.friends,
        s.groups,
        s.live.chat,
        notifications,
    )

    async def forget(deleted: AccountDeleted) -> None:
        for service in owners:
            await service.forget(deleted.tx, deleted.user_id)

    async def disconnect(removed: AccountRemoved) -> None:
        s.boards.leaderboards.forgotten(removed.user_id)
        s.live.disconnect_user(removed.user_id)
        await s.groups.forgotten(removed.user_id)

    async def tell_and_disconnect(banned: UserBanned) -> None:
        s.live.disconnect_user(banned.user_id, last=last_push(PlatformCode.BANNED, clock.now()))

    events.subscribe(AccountDeleted, forget)
    events.subscribe(AccountRemoved, disconnect)
    events.subscribe(UserBanned, tell_and_disconnect)
