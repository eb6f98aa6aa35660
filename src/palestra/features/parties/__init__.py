"""Parties: players who gather under a leader, talk, and look for a match together."""
