"""Stored objects: JSON documents of players and of the game, with versions and permissions."""
