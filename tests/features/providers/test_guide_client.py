"""The client that the guide shows, against a server that answers as a wallet behind a balancer on a bad day."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from palestra.features.providers.signatures import signature
from tests.docs.pages import DOCS, sources

SECRET = "s" * 32
FINE = (200, {}, b'{"balance":"5"}')
PAGE = b"<html>Bad gateway</html>"


class Unlucky(http.server.BaseHTTPRequestHandler):
    """Gives the answers of a list, the last one again and again, and keeps what it was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        timestamp = self.headers["X-Palestra-Timestamp"]
        made = signature(SECRET.encode(), timestamp.encode(), "POST", self.path, body).decode()
        assert made == self.headers["X-Palestra-Signature"]
        self.asked.append((timestamp, body))
        status, headers, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def unlucky() -> Iterator[tuple[type[Unlucky], str]]:
    class Handler(Unlucky):
        answers, asked = [], []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Client:
    """The guide's module, on a clock that its pauses move on."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (text,) = [
            source.text for source in sources(DOCS / "guide/third-party-games.md") if source.name == "seamless.py"
        ]
        self.names: dict[str, Any] = {}
        exec(compile(text, "seamless.py", "exec"), self.names)
        self.now, self.pauses = 1_750_000_000.0, list[float]()
        monkeypatch.setitem(self.names, "time", self)
        self.wallet = self.names["Wallet"](url, "acme", "k1", SECRET)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


UNKNOWN = [
    (0, {}, b""),
    (200, {"Content-Length": "500"}, b'{"balance":"5"}'),
    (200, {"Content-Length": "500"}, b'{"balance"'),
    (200, {}, PAGE),
    (200, {}, b"[5]"),
    (400, {"Content-Length": "500"}, b'{"error":"insufficient_funds"'),
    (404, {}, PAGE),
    (404, {}, b'{"detail":"no such route"}'),
    (429, {"Retry-After": "3"}, b'{"error":"overloaded","code":8,"message":"Later."}'),
    (500, {}, b'{"error":"internal","code":13,"message":"Internal error."}'),
    (502, {}, PAGE),
    (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, PAGE),
    (503, {"Retry-After": "1"}, b'{"error":"unknown_retry","code":14,"message":"Repeat."}'),
    (504, {"Retry-After": "86400"}, PAGE),
]


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda answer: f"{answer[0]} {answer[2][:20]!r}")
def test_what_leaves_the_outcome_unknown_is_repeated_with_the_same_ids_signed_anew(
    unlucky: tuple[type[Unlucky], str], monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, str], bytes]
) -> None:
    server, url = unlucky
    client = Client(url, monkeypatch)
    server.answers += [answer, answer, FINE]
    assert client.wallet.call("debit", transaction_id="t") == {"balance": "5"}
    assert len({body for _, body in server.asked}) == 1 and len({timestamp for timestamp, _ in server.asked}) == 3
    assert json.loads(server.asked[0][1])["transaction_id"] == "t"
    assert max(client.pauses) <= 5


def test_repeating_has_an_end(unlucky: tuple[type[Unlucky], str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, url = unlucky
    client = Client(url, monkeypatch)
    server.answers.append((502, {}, PAGE))
    with pytest.raises(TimeoutError):
        client.wallet.call("credit", transaction_id="t")
    assert len(server.asked) == 6


def test_a_refusal_is_told_at_once(unlucky: tuple[type[Unlucky], str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, url = unlucky
    client = Client(url, monkeypatch)
    server.answers.append((400, {}, b'{"error":"insufficient_funds","code":9,"message":"Too little."}'))
    with pytest.raises(client.names["Refused"], match="insufficient_funds: Too little"):
        client.wallet.call("debit", transaction_id="t")
    assert len(server.asked) == 1 and client.pauses == []
