"""Operations of the protocol that this version does not offer: known paths that say so, instead of "not found"."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from palestra.core.errors import Code, PalestraError
from palestra.gateway.operation import Auth, Call, Empty, Operation

PATHS = (("GET", "/v2/party"),)


class Named(msgspec.Struct):
    """Whatever the path names."""

    id: str = ""


async def _refuse(call: Call, request: Named | Empty) -> NoReturn:
    """Refuse: it is not offered."""
    raise PalestraError("This operation is not offered by this version of the server.", code=Code.UNIMPLEMENTED)


def operations() -> list[Operation]:
    """One refusing operation for each path."""
    return [
        Operation("unoffered", method, path, Auth.SESSION, _refuse, Named if "{" in path else Empty, hookable=False)
        for method, path in PATHS
    ]
