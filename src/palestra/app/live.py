"""What happens between sockets: presences, streams, matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.features.matches import feature as matches_feature
from palestra.features.matches.messages import MatchesMessages
from palestra.features.matches.routes import MatchesRoutes
from palestra.features.matches.service import MatchesService
from palestra.features.streams.contract import STATUS, Stream
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.service import StreamsService
from palestra.gateway.operation import Message, Operation, Session
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket


@dataclass(slots=True)
class Live:
    """The live features, one object each."""

    presences: PresenceEngine
    matches: MatchesService

    def messages(self) -> list[Message]:
        """What players may ask over their sockets."""
        return [*matches_feature.messages(MatchesMessages(self.matches))]

    def operations(self) -> list[Operation]:
        """What they may ask over HTTP."""
        return [*matches_feature.operations(MatchesRoutes(self.matches))]

    def streams(self, sessions: Mapping[str, Session]) -> StreamsService:
        """Streams for game modules."""
        return StreamsService(self.presences, sessions)

    def follow(self, sockets: SocketGateway) -> None:
        """Who asks for it while connecting is shown as online; who is gone is nowhere any more."""

        def opened(socket: Socket) -> None:
            if socket.show_status:
                self.presences.join(socket, Stream(STATUS, socket.caller.user_id))

        sockets.on_open(opened)
        sockets.on_close(lambda session, reason: self.presences.leave_all(session.id))


def build_live(settings: Settings, presences: PresenceEngine, clock: Clock) -> Live:
    """Make and connect the live features."""
    return Live(presences=presences, matches=MatchesService(presences, settings.session, clock))
