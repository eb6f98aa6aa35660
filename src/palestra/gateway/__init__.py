"""Bytes in, bytes out: HTTP and WebSocket on one port. Knows operations, not features."""
