"""Requests that were refused, by their signatures: one that somebody recorded stays refused when it is sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from palestra.core.clock import Clock
from palestra.core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PalestraError,
    PermissionDenied,
)
from palestra.core.provider_settings import ProviderSettings

REFUSALS_MAX = 65_536
"""Refused requests that are remembered of each provider; beyond it the oldest is dropped."""
FINAL = (InvalidArgument, NotFound, AlreadyExists, PermissionDenied, FailedPrecondition)
"""What decides a request. After anything else it is to be repeated, so that is not remembered."""


class _Refusal(msgspec.Struct, frozen=True):
    """An error without its traceback, which would keep the request in memory."""

    kind: type[PalestraError]
    message: str
    ends_at: float


class Refusals:
    """Remembers refusals until their requests' timestamps leave the window, after which nobody can send them again.

    It is the memory of one node, empty when that starts.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings], clock: Clock) -> None:
        self._windows = {name: settings.window_seconds for name, settings in providers.items()}
        self._refused: dict[str, OrderedDict[bytes, _Refusal]] = {name: OrderedDict() for name in providers}
        self._now = clock.now

    def check(self, provider: str, signature: bytes) -> None:
        """Raise what refused the request of this signature before."""
        refusal = self._refused[provider].get(signature)
        if refusal is not None:
            error = refusal.kind.__new__(refusal.kind)
            PalestraError.__init__(error, refusal.message)
            raise error

    def remember(self, provider: str, signature: bytes, signed_at: int, error: PalestraError) -> None:
        """Keep a refusal, and drop those from the front whose time is over or that are too many."""
        refused, now = self._refused[provider], self._now()
        refused[signature] = _Refusal(type(error), error.message, signed_at + self._windows[provider])
        while refused and (len(refused) > REFUSALS_MAX or next(iter(refused.values())).ends_at < now):
            refused.popitem(last=False)
