"""Streams and presences: who is where, and sending to all who are there."""
