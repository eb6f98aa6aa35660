"""Signed requests of a third party's server, written down beforehand: a load generator has no time to sign."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from pathlib import Path

from bench.servers import Failed, call

PROVIDER, KEY, SECRET = "bench", "1", "a-secret-of-the-bench-and-of-nobody-else"
SETTINGS = json.dumps({PROVIDER: {"keys": {KEY: SECRET}, "allow_ips": ["127.0.0.1"], "assets": ["coins"]}})
"""For PALESTRA_PROVIDERS."""
PATH = "/v2/palestra/provider/"
PLAYERS = 200
ROUNDS_PER_SECOND_MAX = 8_000
"""More than any node settles here: a load that runs out of requests has failed."""
REQUESTS_PER_ROUND = 2


def headers(action: str, body: str, at: str) -> dict[str, str]:
    """The headers that sign a request."""
    text = f"{at}\nPOST\n{PATH}{action}\n{body}"
    signature = hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
    return {
        "X-Palestra-Provider": PROVIDER,
        "X-Palestra-Key": KEY,
        "X-Palestra-Timestamp": at,
        "X-Palestra-Signature": signature,
    }


def write_rounds(file: Path, port: int, tokens: list[str], seconds: int) -> None:
    """Rounds of a stake and a payout each, for players who are given enough coins.

    A line holds a request's last part of the path, time, signature and body, with tabs between.
    """
    sessions = [_session(port, token) for token in tokens[:PLAYERS]]
    run, at = uuid.uuid4().hex[:8], str(int(time.time()))
    with file.open("w") as out:
        for number in range(ROUNDS_PER_SECOND_MAX * (seconds + 1)):
            player, session = sessions[number % len(sessions)]
            about = {"round_id": f"{run}-{number}", "player_id": player, "asset": "coins", "amount": "1"}
            for action, more in (("debit", {"session": session}), ("credit", {})):
                name = f"{run}-{action}-{number}"
                body = json.dumps({"request_id": name, "transaction_id": name, **about, **more}, separators=(",", ":"))
                signature = headers(action, body, at)["X-Palestra-Signature"]
                out.write(f"{action}\t{at}\t{signature}\t{body}\n")


def _session(port: int, token: str) -> tuple[str, str]:
    status, answer = call(port, "POST", "/v2/rpc/rich", '""', f"Bearer {token}")
    if status == 200:
        body = json.dumps({"request_id": f"log-in-{uuid.uuid4()}", "token": token})
        status, answer = call(
            port, "POST", PATH + "authenticate", body, more=headers("authenticate", body, str(int(time.time())))
        )
    if status != 200:
        raise Failed(f"preparing rounds: {status} {answer[:200].decode(errors='replace')}")
    found = json.loads(answer)
    return found["player_id"], found["session"]
