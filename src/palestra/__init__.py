"""The names a game developer imports; the only API promised stable."""

from palestra.core.errors import Code, GameError
from palestra.sdk.context import Context, Player
from palestra.sdk.game import Game

__all__ = ["Code", "Context", "Game", "GameError", "Player"]
