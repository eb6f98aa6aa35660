"""The HTTP side of the gateway: one callable from raw request to whole answer."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from palestra.core.config import SocketSettings
from palestra.core.errors import Code, Internal, PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.fields import BadInput, RequestDecoder
from palestra.gateway.http import cors
from palestra.gateway.http.answer import (
    COMPRESS_BYTES_MIN,
    STATUS_OF,
    ErrorBody,
    Headers,
    RpcErrorBody,
    WordedErrorBody,
    Writer,
    compressed,
    encode,
)
from palestra.gateway.http.credentials import Credentials
from palestra.gateway.http.exchange import BodyTooLarge, Disconnected, Exchange
from palestra.gateway.http.intake import inflated
from palestra.gateway.http.router import Router
from palestra.gateway.http.static import StaticFiles
from palestra.gateway.operation import Auth, Call, Operation, Raw, Servers
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.handshake import BAD_UPGRADE, Refusal, client_address

log = get_logger(__name__)

PLAIN_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
FORM = b"application/x-www-form-urlencoded"
RPC_PREFIX = "/v2/rpc/"
NOT_FOUND = encode(ErrorBody(Code.NOT_FOUND, "Not Found"))
WRONG_VERB = encode(ErrorBody(Code.UNIMPLEMENTED, "Method Not Allowed"))
INTERNAL = encode(ErrorBody(Code.INTERNAL, "Internal error."))
EMPTY = b"{}"
_UNFIT = re.compile(rb"[\x00-\x1f\x7f]")
"""What must not stand in a header, whoever wrote the text."""
KEPT_QUERIES_MAX = 64
KEPT_QUERY_BYTES_MAX = 32


class _Plan:
    """How one operation's request is put together."""

    __slots__ = ("_queries", "body_field", "decoder", "member", "operation", "reads_body", "skip")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.decoder = RequestDecoder(operation.request)
        self.body_field = operation.body
        self.member: RequestDecoder | None = None
        self._queries: dict[bytes, dict[str, Any]] = {}
        parameters = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
        if operation.body not in ("", "*"):
            self.member = RequestDecoder(msgspec.structs.fields(operation.request)[_index(operation)].type)
        self.skip = frozenset((*parameters, operation.body))
        self.reads_body = operation.method in ("POST", "PUT", "DELETE")

    def _fields_of(self, query: bytes) -> dict[str, Any]:
        known = self._queries.get(query)
        if known is not None:
            return known
        fields: dict[str, Any] = {}
        self.decoder.query(query, self.skip, fields)
        # The same short queries come again and again, such as "create=true"; lists are not kept, they could be changed.
        if (
            len(query) <= KEPT_QUERY_BYTES_MAX
            and len(self._queries) < KEPT_QUERIES_MAX
            and not any(isinstance(value, list) for value in fields.values())
        ):
            self._queries[query] = fields
        return fields

    def request(self, body: bytes, query: bytes, names: tuple[str, ...], values: tuple[str, ...]) -> Any:
        """The decoded request. Raises BadInput."""
        if self.body_field == "*":
            request = self.decoder.json(body)
        else:
            fields: dict[str, Any] = {}
            if self.member is not None:
                fields[self.body_field] = self.member.json(body)
            if query:
                fields |= self._fields_of(query)
            request = self.decoder.kind(**fields)
        for name, value in zip(names, values, strict=True):
            setattr(request, name, value)
        return request


def _index(operation: Operation) -> int:
    names = [field.name for field in msgspec.structs.fields(operation.request)]
    return names.index(operation.body)


class _Incoming:
    """The headers of a request that matter here."""

    __slots__ = ("accepted", "authorization", "coding", "content_type", "origin", "repeated")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.authorization: bytes | None = None
        self.repeated = False
        self.accepted = self.coding = self.content_type = b""
        self.origin = False
        for name, value in headers:
            if name == b"authorization":
                self.repeated = self.authorization is not None
                self.authorization = value
            elif name == b"content-type":
                self.content_type = value
            elif name == b"accept-encoding":
                self.accepted = value
            elif name == b"content-encoding":
                self.coding = value
            elif name == b"origin":
                self.origin = True


class HttpGateway:
    """Serves the operation table, server-side functions and static files."""

    def __init__(
        self,
        operations: Iterable[Operation],
        dispatcher: Dispatcher,
        credentials: Credentials,
        settings: SocketSettings,
        static: StaticFiles,
        sockets: SocketGateway | None = None,
        servers: Servers | None = None,
    ) -> None:
        table = list(operations)
        self._functions = {operation.method: operation for operation in table if operation.raw}
        self._router = Router(operation for operation in table if not operation.raw)
        self._plans: dict[Operation, _Plan] = {}
        self._read_signed: dict[Operation, Callable[[bytes], Any]] = {}
        for operation in table:
            if operation.auth is Auth.SIGNATURE:
                self._read_signed[operation] = msgspec.json.Decoder(operation.request).decode
            elif not operation.raw:
                self._plans[operation] = _Plan(operation)
        self._dispatcher = dispatcher
        self._credentials = credentials
        self._settings = settings
        self._static = static
        self._sockets = sockets
        self._servers = servers
        self._write = Writer(settings.response_headers)
        self._last_response: Any = None
        self._last_body = b""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.held_back:
            await exchange.released()
        method, path = exchange.method, exchange.path
        if method == "OPTIONS":
            status, granted = cors.preflight(dict(exchange.headers))
            self._write.other(exchange, status, b"", granted)
            return
        incoming = _Incoming(exchange.headers)
        more = cors.ALLOW_ANY if incoming.origin else ()
        if path.startswith(RPC_PREFIX) and (function := self._functions.get(method)) is not None:
            await self._function(function, exchange, incoming)
            return
        found = self._router.find(method, path)
        operation, names, values = found or (None, (), ())
        if operation is None:
            self._unrouted(exchange, found is not None, more, incoming)
            return
        if operation.auth is Auth.SIGNATURE:
            await self._signed(operation, exchange)
            return
        try:
            plan = self._plans[operation]
            query = exchange.query
            body = b""
            if plan.reads_body:
                body = await exchange.read(self._settings.request_bytes_max)
                if incoming.coding:
                    body = inflated(body, incoming.coding, self._settings.request_bytes_max)
                if not plan.body_field and body and incoming.content_type.startswith(FORM):
                    query = query + b"&" + body
            request = plan.request(body, query, names, values)
            caller = self._credentials.caller(operation.auth, incoming.authorization, incoming.repeated)
            call = Call(operation, caller, headers=exchange.headers, query=query, client_ip=self._client_ip(exchange))
            response = await self._dispatcher.run(operation, call, request)
            self._answer(exchange, response, incoming, more)
        except PalestraError as error:
            self._refuse(exchange, error, more)
        except Exception as error:
            log.error("operation failed", operation=operation.name, exc_info=error)
            self._write.failed(exchange, 500, INTERNAL, more)

    def _answer(self, exchange: Exchange, response: Any, incoming: _Incoming, more: Headers) -> None:
        if response is None:
            body = EMPTY
        elif response is self._last_response:
            # Callers that shared one batch of reads get the very same answer: encode it once.
            body = self._last_body
        else:
            body = encode(response)
            self._last_response, self._last_body = response, body
        if incoming.accepted and len(body) >= COMPRESS_BYTES_MIN:
            body, coding = compressed(body, incoming.accepted)
            more = (*more, *coding)
        self._write.fine(exchange, body, more)

    def _refuse(self, exchange: Exchange, error: PalestraError, more: Headers) -> None:
        if isinstance(error, Disconnected):
            return
        body = encode(ErrorBody(error.code, error.message))
        self._write.failed(exchange, STATUS_OF[error.code], body, (*more, *_hints(error)))

    def _unrouted(self, exchange: Exchange, known: bool, more: Headers, incoming: _Incoming) -> None:
        method, path = exchange.method, exchange.path
        if method in ("GET", "HEAD") and (file := self._static.find(path, incoming.accepted, exchange.headers)):
            self._write.other(exchange, file.status, file.body, (*file.headers, *more))
        elif known:
            self._write.failed(exchange, 501, WRONG_VERB, more)
        elif path == "/" and method == "GET":
            self._write.other(exchange, 200, b"", more)
        elif path == "/ws" and self._sockets is not None:
            verdict = self._sockets.check(method, exchange.query, exchange.headers)
            # A request that came here asked for no upgrade, or in words that only half mean it.
            refusal = verdict if isinstance(verdict, Refusal) else BAD_UPGRADE
            self._write.other(exchange, refusal.status, refusal.body(), (*PLAIN_TEXT, *more))
        elif (clean := _cleaned(path)) != path:
            query = exchange.query
            location = quote(clean).encode() + (b"?" + query if query else b"")
            self._write.other(exchange, 301, b"", ((b"location", location), *more))
        elif path == RPC_PREFIX[:-1] or path.startswith(RPC_PREFIX):
            self._write.failed(exchange, 501, WRONG_VERB, more)
        else:
            self._write.failed(exchange, 404, NOT_FOUND, more)

    # -- requests of other servers: the raw body is what was signed; no browser calls, so no words about origins

    async def _signed(self, operation: Operation, exchange: Exchange) -> None:
        servers = self._servers
        assert servers is not None, "operations of Auth.SIGNATURE need somebody who knows signatures"
        try:
            body = await exchange.read(self._settings.request_bytes_max)
            client_ip = self._client_ip(exchange)
            server = servers.verify(operation, exchange.headers, body, client_ip)
            try:
                request = self._read_signed[operation](body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadInput(f"The body is not this operation's request: {error}") from None
            call = Call(operation, None, headers=exchange.headers, client_ip=client_ip)
            call.server = server
            self._write.fine(exchange, encode(await self._dispatcher.run(operation, call, request)))
        except PalestraError as error:
            if isinstance(error, Disconnected):
                return
            refusal = WordedErrorBody(servers.word(error), error.code, error.message)
            self._write.failed(exchange, STATUS_OF[error.code], encode(refusal), _hints(error))
        except Exception as error:
            log.error("operation failed", operation=operation.name, exc_info=error)
            failed = Internal("Internal error.")
            refusal = WordedErrorBody(servers.word(failed), failed.code, failed.message)
            self._write.failed(exchange, 500, encode(refusal))

    # -- server-side functions: authentication first, raw payloads, an error body of their own

    async def _function(self, operation: Operation, exchange: Exchange, incoming: _Incoming) -> None:
        more = cors.ALLOW_ANY if incoming.origin else ()
        try:
            query = exchange.query
            http_key = _http_key(query) if b"http_key" in query or b"%" in query else ""
            caller = self._credentials.function_caller(incoming.authorization, http_key)
            call = Call(operation, caller, headers=exchange.headers, query=query, client_ip=self._client_ip(exchange))
            if operation.method == "POST":
                body = await exchange.read(self._settings.request_bytes_max)
                if incoming.coding:
                    body = inflated(body, incoming.coding, self._settings.request_bytes_max)
                call.body = body
            answer: Raw = await self._dispatcher.run(operation, call, exchange.path[len(RPC_PREFIX) :])
            if answer.content_type == b"application/json":
                self._write.fine(exchange, answer.body, more)
            else:
                self._write.other(exchange, 200, answer.body, ((b"content-type", answer.content_type), *more))
        except PalestraError as error:
            if isinstance(error, Disconnected):
                return
            if isinstance(error, BodyTooLarge):
                self._refuse(exchange, error, more)
                return
            detail: Any = {} if getattr(error, "from_game", False) else error.message
            self._write.failed(
                exchange,
                STATUS_OF[error.code],
                encode(RpcErrorBody(detail, error.message, error.code)),
                (*more, *_hints(error)),
            )
        except Exception as error:
            log.error("function failed", path=exchange.path, exc_info=error)
            self._write.failed(exchange, 500, encode(RpcErrorBody({}, "Internal error.", Code.INTERNAL)), more)

    def _client_ip(self, exchange: Exchange) -> str:
        return client_address(exchange.headers, exchange.peer, self._settings.proxy_count)


def _cleaned(path: str) -> str:
    """The path without empty and dotted segments; a slash at its end stays."""
    if "//" not in path and "/." not in path:
        return path
    clean = "/" + posixpath.normpath(path).strip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _http_key(query: bytes) -> str:
    try:
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("http_key", "")
    except ValueError:
        raise BadInput("too many query parameters") from None


def _hints(error: PalestraError) -> Headers:
    if error.code is Code.UNAUTHENTICATED:
        return ((b"www-authenticate", _UNFIT.sub(b"?", error.message.encode("ascii", "replace"))),)
    if isinstance(error, Unavailable):
        return ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_seconds))),)
    if error.code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE):
        return ((b"retry-after", b"1"),)
    return ()
