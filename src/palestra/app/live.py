"""What happens between sockets: presences, streams, matches, matchmaker, parties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.core.tasks import Tasks
from palestra.features.matches import feature as matches_feature
from palestra.features.matches.messages import MatchesMessages
from palestra.features.matches.recording import Recordings
from palestra.features.matches.routes import MatchesRoutes
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.service import MatchesService
from palestra.features.matchmaker import feature as matchmaker_feature
from palestra.features.matchmaker.messages import MatchmakerMessages
from palestra.features.matchmaker.routes import MatchmakerRoutes
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.parties import feature as parties_feature
from palestra.features.parties.messages import PartyMessages
from palestra.features.parties.routes import PartyRoutes
from palestra.features.parties.service import PartyService
from palestra.features.streams.contract import STATUS, Stream
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.service import StreamsService
from palestra.gateway.operation import Message, Operation, Session
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket
from palestra.sdk.runtime import Runtime


@dataclass(slots=True)
class Live:
    """The live features, one object each."""

    presences: PresenceEngine
    running: RunningMatches
    matches: MatchesService
    matchmaker: MatchmakerService
    parties: PartyService

    def messages(self) -> list[Message]:
        """What players may ask over their sockets."""
        return [
            *matches_feature.messages(MatchesMessages(self.matches)),
            *matchmaker_feature.messages(MatchmakerMessages(self.matchmaker)),
            *parties_feature.messages(PartyMessages(self.parties)),
        ]

    def operations(self) -> list[Operation]:
        """What they may ask over HTTP."""
        return [
            *matches_feature.operations(MatchesRoutes(self.matches)),
            *matchmaker_feature.operations(MatchmakerRoutes(self.matchmaker)),
            *parties_feature.operations(PartyRoutes(self.parties)),
        ]

    def streams(self, sessions: Mapping[str, Session]) -> StreamsService:
        """Streams for game modules."""
        return StreamsService(self.presences, sessions)

    def follow(self, sockets: SocketGateway) -> None:
        """Who asks for it while connecting is shown as online; whose session has ended is nowhere any more."""

        def opened(socket: Socket) -> None:
            if socket.show_status:
                self.presences.join(socket, Stream(STATUS, socket.caller.user_id))

        sockets.on_open(opened)
        sockets.on_resume(opened)
        sockets.on_close(lambda session, reason: self.matchmaker.session_ended(session.id))
        sockets.on_close(lambda session, reason: self.presences.leave_all(session.id))


def build_live(settings: Settings, presences: PresenceEngine, games: Runtime, tasks: Tasks, clock: Clock) -> Live:
    """Make and connect the live features."""
    recordings = Recordings(settings.match, settings.data_dir)
    running = RunningMatches(
        presences, games, settings.match, settings.node, tasks=tasks, clock=clock, recordings=recordings
    )
    matches = MatchesService(presences, running, settings.session, clock)
    matchmaker = MatchmakerService(settings.matchmaker, matches, games, tasks, clock)
    single = settings.session.single_party
    return Live(
        presences=presences,
        running=running,
        matches=matches,
        matchmaker=matchmaker,
        parties=PartyService(presences, matchmaker, settings.party, settings.node, clock, single=single),
    )
