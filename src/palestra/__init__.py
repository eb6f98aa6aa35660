"""The names a game developer imports; the only API promised stable."""

from palestra.core.errors import Code, GameError
from palestra.features.chat.contract import Kind as ChannelKind
from palestra.features.events.contract import ClientEvent, SessionEvent
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from palestra.features.limits.contract import Limit
from palestra.features.matches.contract import EndMatch, MatchInfo, MatchMessage, MatchPlayer
from palestra.features.notifications.contract import NewNotification, NotificationChange
from palestra.features.purchases.contract import Purchase, Refund, Store
from palestra.features.rounds.contract import Round, RoundOver, Settlement
from palestra.features.storage.contract import ObjectId, ObjectWrite
from palestra.features.streams.contract import Presence, Stream
from palestra.sdk.context import Context, Player
from palestra.sdk.game import Game
from palestra.sdk.match import Match
from palestra.sdk.shapes import quantised

__all__ = [
    "ChannelKind",
    "ClientEvent",
    "Code",
    "Context",
    "EndMatch",
    "Game",
    "GameError",
    "LeaderboardReset",
    "Limit",
    "Match",
    "MatchInfo",
    "MatchMessage",
    "MatchPlayer",
    "NewNotification",
    "NotificationChange",
    "ObjectId",
    "ObjectWrite",
    "Player",
    "Presence",
    "Purchase",
    "Refund",
    "Round",
    "RoundOver",
    "SessionEvent",
    "Settlement",
    "Store",
    "Stream",
    "TournamentEnd",
    "TournamentReset",
    "quantised",
]
