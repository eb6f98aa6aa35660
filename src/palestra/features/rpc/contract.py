"""What a collection of server-side functions must offer, and how their failures look."""

from __future__ import annotations

from typing import Protocol

from palestra.core.errors import Code, NotFound, PalestraError
from palestra.gateway.operation import Call


class FunctionNotFound(NotFound):
    """No function has this id."""

    socket_code = 6

    def __init__(self) -> None:
        super().__init__("RPC function not found")


class FunctionFailed(PalestraError):
    """A function refused the call or broke; the text and code are the function's."""

    socket_code = 7
    from_game = True

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message, code=code)


class Functions(Protocol):
    """The functions of the loaded game modules."""

    async def call(self, function_id: str, payload: str, call: Call) -> str | None:
        """Run a function by its id, in any case of letters. Raises FunctionNotFound, FunctionFailed."""
        ...
