"""A node inside a test: start it with a game, let bots play, look at the results."""

from palestra.core.clock import ManualClock
from palestra.testing.bot import Bot, BotError
from palestra.testing.platform import Platform

__all__ = ["Bot", "BotError", "ManualClock", "Platform"]
