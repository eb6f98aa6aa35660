"""The socket: handshake, frames, envelopes, liveness and queues."""
