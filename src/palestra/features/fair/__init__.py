"""Provably fair draws: a commitment first, HMAC-SHA256 of both sides' seeds, reveal and rotation."""
