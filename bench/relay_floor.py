"""The floor of relayed matches: the least that a Python process can do per message, on the same socket library.

It speaks just enough of the protocol for the load generator: no checks, no limits, no queues, one write per delivery.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

SENT, RELAYED = b'{"match_data_send":', b'{"match_data":'


class Player(WSListener):
    """One socket and the match it is in."""

    matches: list[list[WSTransport]]

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.others: list[WSTransport] = []

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(SENT):
            message = RELAYED + payload[len(SENT) :]
            for other in self.others:
                if other is not transport:
                    other.send(WSMsgType.TEXT, message)
            return
        request = json.loads(payload)
        if "match_create" in request:
            self.others = [transport]
            self.matches.append(self.others)
            match_id = f"{len(self.matches) - 1}."
        else:
            match_id = request["match_join"]["match_id"]
            self.others = self.matches[int(match_id[:-1])]
            self.others.append(transport)
        answer = {"cid": request["cid"], "match": {"match_id": match_id}}
        transport.send(WSMsgType.TEXT, json.dumps(answer).encode())


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    logging.getLogger("picows").setLevel(logging.ERROR)
    Player.matches = []

    def player(request: WSUpgradeRequest) -> WSListener:
        return Player()

    server = await ws_create_server(player, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
