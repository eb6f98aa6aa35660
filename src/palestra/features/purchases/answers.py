"""Answers of stores over HTTP: what they say, or a failure that the operator reads of."""

from __future__ import annotations

from palestra.core.log import get_logger
from palestra.features.purchases.contract import StoreFailed
from palestra.gateway.outgoing import Answer

log = get_logger(__name__)


def fine(name: str, answer: Answer) -> bytes:
    """The body of an answer of status 200. Raises StoreFailed for any other."""
    if answer.status != 200:
        log.error("a store refuses this node; are its settings right?", store=name, status=answer.status)
        raise StoreFailed(name, answer.status, answer.body)
    return answer.body
