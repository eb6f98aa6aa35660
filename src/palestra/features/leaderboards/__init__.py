"""Leaderboards and tournaments: scores per period, listed in order, with ranks; windows and seats for tournaments."""
