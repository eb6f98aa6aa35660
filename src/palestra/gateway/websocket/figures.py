"""The figures of a node's sockets."""

from __future__ import annotations

from palestra.core.metrics import Metrics
from palestra.gateway.websocket.gateway import SocketGateway


def measure_sockets(sockets: SocketGateway, metrics: Metrics) -> None:
    """Show what sockets do."""
    metrics.gauge("palestra_sockets", "Open sockets", (), lambda: [((), sockets.connected)])
    metrics.gauge(
        "palestra_sessions_away", "Sessions that wait for a connection", (), lambda: [((), len(sockets.away))]
    )
    metrics.counter(
        "palestra_sessions_resumed", "Sessions that got another connection", (), lambda: [((), sockets.resumed_count)]
    )
    metrics.counter(
        "palestra_sessions_expired", "Sessions that waited in vain", (), lambda: [((), sockets.expired_count)]
    )
    metrics.counter(
        "palestra_sessions_moved",
        "Sessions that came from other nodes and that went to them",
        ("direction",),
        lambda: [(("in",), sockets.moved_in_count), (("out",), sockets.moved_out_count)],
    )
    metrics.gauge(
        "palestra_socket_held_bytes", "Bytes kept back for sockets", (), lambda: [((), sockets.holding.bytes)]
    )
    metrics.counter(
        "palestra_socket_frames_dropped",
        "Frames that slow receivers missed",
        (),
        lambda: [((), sockets.holding.dropped)],
    )
    metrics.counter(
        "palestra_socket_messages_received", "Messages from clients", (), lambda: [((), sockets.messages_received)]
    )
    metrics.counter("palestra_socket_frames_sent", "Frames to clients", (), lambda: [((), sockets.frames_sent)])
    metrics.counter(
        "palestra_sockets_closed",
        "Sockets closed by us, by reason",
        ("reason",),
        lambda: [((reason,), count) for reason, count in sockets.closed_by_reason.items()],
    )
