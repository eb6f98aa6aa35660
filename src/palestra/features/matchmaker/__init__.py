"""Matchmaker: players who wait for a match, brought together by what each of them asks for."""
