"""Parties: table of contents."""

from __future__ import annotations

from palestra.features.parties import wire
from palestra.features.parties.messages import PartyMessages
from palestra.features.parties.routes import PartyRoutes
from palestra.gateway.operation import Auth, Message, Operation


def operations(routes: PartyRoutes) -> list[Operation]:
    """HTTP."""
    return [Operation("parties.list", "GET", "/v2/party", Auth.SESSION, routes.list, wire.ListParties)]


def messages(on: PartyMessages) -> list[Message]:
    """Socket."""
    return [
        Message("parties.create", "party_create", wire.PartyCreate, on.create),
        Message("parties.join", "party_join", wire.PartyNamed, on.join),
        Message("parties.leave", "party_leave", wire.PartyNamed, on.leave),
        Message("parties.promote", "party_promote", wire.PartyTarget, on.promote),
        Message("parties.accept", "party_accept", wire.PartyTarget, on.accept),
        Message("parties.remove", "party_remove", wire.PartyTarget, on.remove),
        Message("parties.close", "party_close", wire.PartyNamed, on.close),
        Message("parties.list_requests", "party_join_request_list", wire.PartyNamed, on.list_requests),
        Message("parties.matchmaker_add", "party_matchmaker_add", wire.PartyMatchmakerAdd, on.matchmaker_add),
        Message(
            "parties.matchmaker_remove", "party_matchmaker_remove", wire.PartyMatchmakerRemove, on.matchmaker_remove
        ),
        Message("parties.send", "party_data_send", wire.PartyDataSend, on.send),
        Message("parties.update", "party_update", wire.PartyUpdate, on.update),
    ]
