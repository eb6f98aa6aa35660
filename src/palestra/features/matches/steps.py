"""What a running match works with: its steps, what is around it, and answers that are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from palestra.core.config import MatchSettings
from palestra.core.errors import PalestraError
from palestra.core.tasks import Tasks
from palestra.features.matches.contract import MatchPlayer
from palestra.features.matches.pace import Pace
from palestra.features.streams.contract import Presences
from palestra.gateway.operation import Session

if TYPE_CHECKING:
    from palestra.features.matches.actor import Actor

ANSWER_SECONDS_MAX = 10.0
"""How long a join attempt or a signal may wait for the match."""
A = TypeVar("A")


class Step(NamedTuple):
    """A callback that is to be run, and what to do when it is done: with its result, or with what it raised."""

    name: str
    code: Callable[..., Any]
    arguments: tuple[Any, ...]
    then: Callable[[Any, BaseException | None], None]


class Surroundings(NamedTuple):
    """What the matches of a node share."""

    presences: Presences
    settings: MatchSettings
    tasks: Tasks
    pace: Pace
    over: Callable[[Actor], None]
    """Called when a match has ended, before its members learn of it."""
    relabelled: Callable[[Actor], None]
    checkpoint: Callable[[Actor], None]
    """Called after ticks whose state is to be kept."""


async def in_time(answer: asyncio.Future[A], otherwise: PalestraError) -> A:
    """What a match answers; raises `otherwise` if it does not in time."""
    if answer.done():
        return answer.result()
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await answer
    except TimeoutError:
        raise otherwise from None


def refuse(answer: asyncio.Future[Any], error: PalestraError) -> None:
    """Answer with an error, unless it is answered."""
    if not answer.done():
        answer.set_exception(error)


def player_of(session: Session) -> MatchPlayer:
    """A session as a match sees it."""
    caller = session.caller
    return MatchPlayer(caller.user_id, session.id, caller.username, caller.vars, session.client_ip)
