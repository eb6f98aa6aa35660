"""Third-party games: table of contents."""

from __future__ import annotations

import msgspec

from palestra.features.providers import wire
from palestra.features.providers.openapi import described
from palestra.features.providers.reports import Days
from palestra.features.providers.routes import ProviderRoutes
from palestra.gateway.openapi import Served
from palestra.gateway.operation import Auth, Handler, Operation
from palestra.jobs.contract import Job

OPENAPI = "/v2/palestra/provider/openapi.json"


def operations(routes: ProviderRoutes) -> list[Operation]:
    """HTTP operations of this feature."""
    signed = [
        _signed("providers.authenticate", "/v2/palestra/provider/authenticate", routes.authenticate, wire.Authenticate),
        _signed("providers.balance", "/v2/palestra/provider/balance", routes.balance, wire.BalanceOf),
        _signed("providers.debit", "/v2/palestra/provider/debit", routes.debit, wire.Debit),
        _signed("providers.credit", "/v2/palestra/provider/credit", routes.credit, wire.Credit),
        _signed("providers.rollback", "/v2/palestra/provider/rollback", routes.rollback, wire.Rollback),
        _signed("providers.list", "/v2/palestra/provider/list", routes.list, wire.List),
    ]
    served = Served(lambda: described(signed))
    return [*signed, Operation("providers.openapi", "GET", OPENAPI, Auth.NONE, served.answer, hookable=False)]


def jobs(days: Days) -> list[Job]:
    """What happens by the clock. A report of a day that is still being written would miss its end, so not at midnight."""
    return [Job("providers.report", days.report_yesterday, cron="40 0 * * *", attempts_max=20, seconds_max=1_800.0)]


def _signed(name: str, path: str, handler: Handler, request: type[msgspec.Struct]) -> Operation:
    """They belong to other servers, so game code does not hook into them."""
    return Operation(name, "POST", path, Auth.SIGNATURE, handler, request, "*", hookable=False)
