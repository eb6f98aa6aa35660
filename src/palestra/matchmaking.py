"""The matchmaker's vocabulary for game modules: `from palestra.matchmaking import Formed, split_fair`."""

from palestra.features.matchmaker.contract import (
    BadBackfill,
    Entry,
    Formed,
    QueryInvalid,
    Reason,
    Stats,
    TicketInfo,
    TicketNotFound,
    WhyNot,
)
from palestra.features.matchmaker.skill import BadTeams, Rating, rate, split_fair

__all__ = [
    "BadBackfill",
    "BadTeams",
    "Entry",
    "Formed",
    "QueryInvalid",
    "Rating",
    "Reason",
    "Stats",
    "TicketInfo",
    "TicketNotFound",
    "WhyNot",
    "rate",
    "split_fair",
]
