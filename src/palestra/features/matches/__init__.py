"""Matches: relayed ones, where players send to each other through a stream."""
