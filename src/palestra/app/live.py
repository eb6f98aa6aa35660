"""What happens between sockets: presences, streams, statuses, channels, matches, matchmaker, parties."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palestra.cluster.cluster import Cluster
from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.core.events import EventBus
from palestra.core.tasks import Tasks
from palestra.features.accounts.contract import Users
from palestra.features.chat import feature as chat_feature
from palestra.features.chat.addresses import Addresses
from palestra.features.chat.channels import ChannelService
from palestra.features.chat.messages import ChatMessages
from palestra.features.chat.service import ChatService
from palestra.features.chat.store import ChatStore
from palestra.features.events.service import EventService
from palestra.features.friends.contract import Friends
from palestra.features.groups.contract import Groups
from palestra.features.matches import feature as matches_feature
from palestra.features.matches.adoption import Adoption, owner_of
from palestra.features.matches.checkpoints import Checkpoints
from palestra.features.matches.directory import Directory
from palestra.features.matches.elsewhere import Elsewhere
from palestra.features.matches.handover import HandOver
from palestra.features.matches.messages import MatchesMessages
from palestra.features.matches.recording import Recordings
from palestra.features.matches.routes import MatchesRoutes
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.service import MatchesService
from palestra.features.matchmaker import feature as matchmaker_feature
from palestra.features.matchmaker.asking import TicketQuestions
from palestra.features.matchmaker.messages import MatchmakerMessages
from palestra.features.matchmaker.moving import TicketMoves
from palestra.features.matchmaker.routes import MatchmakerRoutes
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.sharing import TicketSharing
from palestra.features.nodes.contract import Leases
from palestra.features.parties import feature as parties_feature
from palestra.features.parties.actions import PartyActions
from palestra.features.parties.elsewhere import OtherParties
from palestra.features.parties.handover import PartyHandOver
from palestra.features.parties.homes import Homes
from palestra.features.parties.messages import PartyMessages
from palestra.features.parties.routes import PartyRoutes
from palestra.features.parties.service import PartyService
from palestra.features.status import feature as status_feature
from palestra.features.status.messages import StatusMessages
from palestra.features.status.service import StatusService
from palestra.features.streams.contract import ConnectedSockets
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.forwarding import Forwarding
from palestra.features.streams.moving import Moving
from palestra.features.streams.replication import Replication
from palestra.features.streams.service import SocketsService, StreamsService
from palestra.gateway.operation import Message, Operation, Session
from palestra.gateway.push import Push
from palestra.gateway.websocket.gateway import DISCONNECTED, SocketGateway
from palestra.gateway.websocket.socket import Socket
from palestra.sdk.runtime import Runtime


class OpenSockets:
    """The sockets of the gateway, for features that it is made of: it is set when it is there."""

    gateway: SocketGateway

    @property
    def sessions(self) -> Mapping[str, Session]:
        """All of them by session id."""
        return self.gateway.sessions

    def of_user(self, user_id: str) -> Sequence[Session]:
        """Those of a player."""
        return self.gateway.of_user(user_id)


class AllSockets:
    """The sockets of all nodes."""

    def __init__(self, own: OpenSockets, others: Replication) -> None:
        self._own = own
        self._others = others

    @property
    def sessions(self) -> Mapping[str, Session]:
        """All of them by session id."""
        return ChainMap[str, Session](self._own.sessions, self._others.remote)  # type: ignore[arg-type]

    def of_user(self, user_id: str) -> Sequence[Session]:
        """Those of a player."""
        return [*self._own.of_user(user_id), *self._others.of_user(user_id)]


@dataclass(slots=True, frozen=True)
class Asked:
    """Whom the live features ask."""

    users: Users
    friends: Friends
    groups: Groups
    games: Runtime
    leases: Leases


@dataclass(slots=True)
class Live:
    """The live features, one object each."""

    presences: PresenceEngine
    open_sockets: OpenSockets
    all_sockets: ConnectedSockets
    others: Replication | None
    """Sessions and presences of other nodes; None for a node alone."""
    forwarding: Forwarding | None
    streams: StreamsService
    sockets: SocketsService
    status: StatusService
    chat: ChatService
    channels: ChannelService
    running: RunningMatches
    matches: MatchesService
    matchmaker: MatchmakerService
    parties: PartyService
    ticket_moves: TicketMoves | None
    other_parties: OtherParties | None
    moving: Moving | None = None
    """Sessions that come from other nodes and go to them; None for a node alone."""

    def messages(self) -> list[Message]:
        """What players may ask over their sockets."""
        return [
            *chat_feature.messages(ChatMessages(self.channels)),
            *status_feature.messages(StatusMessages(self.status)),
            *matches_feature.messages(MatchesMessages(self.matches)),
            *matchmaker_feature.messages(MatchmakerMessages(self.matchmaker)),
            *parties_feature.messages(PartyMessages(self.parties, self.other_parties)),
        ]

    def operations(self) -> list[Operation]:
        """What they may ask over HTTP."""
        return [
            *matches_feature.operations(MatchesRoutes(self.matches)),
            *matchmaker_feature.operations(MatchmakerRoutes(self.matchmaker)),
            *parties_feature.operations(PartyRoutes(self.parties)),
        ]

    def disconnect_user(self, user_id: str, last: Push | None = None, but: Session | None = None) -> None:
        """Close all sockets of a player on all nodes except `but`, after a last envelope where one is given."""
        self.open_sockets.gateway.disconnect_user(user_id, last=last, but=but)
        for session in self.others.of_user(user_id) if self.others is not None else ():
            if session is not but:
                if last is not None:
                    session.send(last)
                session.close(DISCONNECTED)

    def follow(self, gateway: SocketGateway, events: EventService, cluster: Cluster) -> None:
        """Who asks for it while connecting is shown as online; whose session has ended is nowhere any more."""
        self.open_sockets.gateway = gateway

        others = self.others

        def opened(socket: Socket) -> None:
            if others is not None:
                others.session_opened(socket)
            connected(socket)

        def connected(socket: Socket) -> None:
            if socket.show_status:
                self.status.appear(socket)

        def closed(socket: Socket, reason: str) -> None:
            self.matchmaker.session_ended(socket.id)
            self.presences.leave_all(socket.id)
            self.status.ended(socket.id)
            if others is not None:
                others.session_ended(socket)
            events.session_ended(socket, reason)

        def gone(session: Session) -> None:
            """A session that was here once has ended elsewhere."""
            self.matchmaker.session_ended(session.id)
            self.status.ended(session.id)

        if others is not None:
            others.on_end(gone)
            self.moving = gateway.elsewhere = Moving(cluster, others, self.presences, gateway)
            self.moving.carry("status", self.status)
            if self.ticket_moves is not None:
                self.moving.carry("tickets", self.ticket_moves)
        gateway.on_open(opened)
        gateway.on_open(events.session_started)
        gateway.on_resume(connected)
        gateway.on_close(closed)


def build_live(
    settings: Settings,
    presences: PresenceEngine,
    messages: ChatStore,
    asked: Asked,
    cluster: Cluster,
    events: EventBus,
    tasks: Tasks,
    clock: Clock,
) -> Live:
    """Make and connect the live features."""
    sockets = OpenSockets()
    others = None if cluster.alone else Replication(cluster, presences, lambda: sockets.sessions)
    everywhere = sockets if others is None else AllSockets(sockets, others)
    addresses = Addresses(asked.users, asked.friends, asked.groups)
    chat = ChatService(messages, presences, addresses, asked.groups, clock)
    forwarding = None if others is None else Forwarding(cluster.calls, others)
    running, matches = _matches(settings, presences, asked.games, cluster, forwarding, tasks, clock)
    matchmaker = MatchmakerService(settings.matchmaker, matches, asked.games, tasks, clock)
    parties = PartyService(
        presences, matchmaker, settings.party, settings.node, clock, single=settings.session.single_party
    )
    other_parties = ticket_moves = None
    if others is not None and forwarding is not None:
        sharing = TicketSharing(cluster, asked.leases, matchmaker, tasks, clock)
        TicketQuestions(cluster, matchmaker, sharing)
        ticket_moves = TicketMoves(cluster, matchmaker, sharing, presences, everywhere, clock)
        homes = Homes(cluster)
        mover = PartyHandOver(cluster, parties, homes, ticket_moves, everywhere, others)
        other_parties = OtherParties(cluster, forwarding, parties, PartyActions(parties).table(), homes, mover)
        ticket_moves.party_at = other_parties.node_of
    return Live(
        presences=presences,
        open_sockets=sockets,
        all_sockets=everywhere,
        others=others,
        forwarding=forwarding,
        streams=StreamsService(presences, everywhere),
        sockets=SocketsService(everywhere),
        status=StatusService(presences, asked.users, sockets),
        chat=chat,
        channels=ChannelService(chat, presences, addresses, events, tasks),
        running=running,
        matches=matches,
        matchmaker=matchmaker,
        parties=parties,
        ticket_moves=ticket_moves,
        other_parties=other_parties,
    )


def _matches(
    settings: Settings,
    presences: PresenceEngine,
    games: Runtime,
    cluster: Cluster,
    forwarding: Forwarding | None,
    tasks: Tasks,
    clock: Clock,
) -> tuple[RunningMatches, MatchesService]:
    """The matches of this node, and the way to those of others."""
    recordings = Recordings(settings.match, settings.data_dir)
    directory = None if forwarding is None else Directory(cluster, presences)
    running = RunningMatches(
        presences,
        games,
        settings.match,
        settings.node,
        tasks=tasks,
        clock=clock,
        recordings=recordings,
        directory=directory,
    )
    if forwarding is None or directory is None:
        return running, MatchesService(presences, running, settings.session, clock)
    running.mover = mover = HandOver(cluster, presences, directory, running)
    elsewhere = Elsewhere(cluster, forwarding, presences, directory, running, mover.settled, tasks)
    checkpoints = None
    if settings.redis_url:
        checkpoints = Checkpoints(
            settings.redis_url, settings.cluster.name, lambda: owner_of(cluster.node, cluster.bus.epoch)
        )
        run = checkpoints.run
        cluster.on_start.append(lambda: tasks.spawn(run(), "checkpoints of matches"))
    Adoption(cluster, presences, directory, running, checkpoints, tasks)
    return running, MatchesService(presences, running, settings.session, clock, elsewhere)
