"""Leaderboards: best scores per period, listed in order, with ranks."""
