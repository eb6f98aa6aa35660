"""Nodes are tested on the event loop they run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}
