"""Limits of players: what they may stake, lose, spend and play within rolling windows, and locks."""
