"""The HTTP floor: an ASGI callable that does nothing, under the same server and settings as a node."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

BODY = b'{"ok":true}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
END = {"type": "http.response.body", "body": BODY}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """The same small JSON for every request."""
    await send(START)
    await send(END)


if __name__ == "__main__":
    uvicorn.run(
        answer, port=int(sys.argv[1]), http="httptools", loop="uvloop", ws="none", lifespan="off", log_level="warning",
        access_log=False,
    )  # fmt: skip
