"""Addresses that this node may ask."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_safe_url(url: str, loopback_http: bool) -> bool:
    """Whether an address is https to a host, or plain http to this machine where that is allowed."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (loopback_http and parts.scheme == "http" and host in LOOPBACK)
