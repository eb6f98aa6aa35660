"""Function calls over HTTP and sockets."""

from __future__ import annotations

import msgspec

from palestra.core.errors import InvalidArgument
from palestra.features.rpc.contract import Functions
from palestra.features.rpc.wire import RpcRequest, RpcWire, payload_body, payload_of
from palestra.gateway.operation import Call, Raw


class FunctionIdMissing(InvalidArgument):
    """The call names no function."""

    def __init__(self) -> None:
        super().__init__("RPC ID must be set")


class RpcRoutes:
    """Decode, call, encode. Payloads are opaque text here; functions give them meaning."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def call(self, call: Call, function_id: str) -> Raw:
        """Call a function; with `unwrap` in the query, body and answer are the bare payload."""
        if not function_id:
            raise FunctionIdMissing
        unwrap = b"unwrap" in call.query and _has_unwrap(call.query)
        payload = _bare(call.body) if unwrap else _wrapped(call.body)
        result = await self._functions.call(function_id, payload, call) or ""
        if not unwrap:
            return Raw(payload_body(result))
        return Raw(result.encode(), dict(call.headers or ()).get(b"content-type") or b"text/plain; charset=utf-8")

    async def message(self, call: Call, request: RpcRequest) -> tuple[str, RpcWire]:
        """Call a function over a socket."""
        if not request.id:
            raise FunctionIdMissing
        result = await self._functions.call(request.id, request.payload, call)
        return "rpc", RpcWire(request.id, result or "")


def _has_unwrap(query: bytes) -> bool:
    return any(part.partition(b"=")[0] == b"unwrap" for part in query.split(b"&"))


def _wrapped(body: bytes) -> str:
    try:
        return payload_of(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the payload must be a JSON string: {error}") from None


def _bare(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("the payload must be UTF-8 text") from None
