"""The description for machines: valid, served, and what really goes over the wire."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from palestra.app.build import table
from palestra.features.providers.words import WORDS
from palestra.gateway.http.answer import STATUS_OF
from palestra.gateway.operation import Auth, Operation
from palestra.testing import Platform
from tests.docs.pages import ROOT
from tests.features.providers.conftest import NewPlayer
from tests.features.providers.provider import ASSET, Provider, Refused, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def document(platform: Platform) -> dict[str, Any]:
    async with platform.http.get(f"{platform.url}/v2/palestra/provider/openapi.json") as answer:
        assert answer.status == 200 and answer.content_type == "application/json"
        return await answer.json()


async def test_the_document_is_valid_and_holds_every_signed_operation(platform: Platform) -> None:
    found = await document(platform)
    validate(found)
    signed = [one for one in table() if isinstance(one, Operation) and one.auth is Auth.SIGNATURE]
    assert sorted(found["paths"]) == sorted(operation.path for operation in signed)
    assert len(signed) == 6
    told = json.dumps(found["paths"])
    assert [word for word in WORDS.values() if word not in told] == []


async def test_what_goes_over_the_wire_fits_the_document(platform: Platform, acme: Provider, player: NewPlayer) -> None:
    found, ann, stake = await document(platform), await player(100), fresh()
    money = {"round_id": "r", "player_id": ann.id, "asset": ASSET}
    session = await acme.begin(ann)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("authenticate", {"token": ann.token}),
        ("balance", {"player_id": ann.id, "asset": ASSET}),
        ("debit", {**money, "transaction_id": stake, "amount": "5", "session": session}),
        ("credit", {**money, "transaction_id": fresh(), "amount": 5}),
        ("rollback", {**money, "transaction_id": stake}),
        ("rollback", {**money, "transaction_id": fresh()}),
        ("list", {"asset": ASSET, "since": 0, "until": 86_400}),
    ]
    for action, fields in requests:
        operation = found["paths"][f"/v2/palestra/provider/{action}"]["post"]
        body = {"request_id": fresh("q"), **fields}
        assert errors(found, operation["requestBody"], body) == []
        answer = json.loads(await acme.send(action, json.dumps(body).encode()))
        assert errors(found, operation["responses"]["200"], answer) == []
        for wrong in ({**body, "more": 1}, {**body, "request_id": ""}):
            assert errors(found, operation["requestBody"], wrong)
            with pytest.raises(Refused) as told:
                await acme.send(action, json.dumps(wrong).encode())
            refusal = {"error": told.value.word, "code": 3, "message": told.value.message}
            assert errors(found, operation["responses"]["400"], refusal) == []
    for amount in (0, "0", -1, 1.5, "1.5", "", 2**63):
        debit = found["paths"]["/v2/palestra/provider/credit"]["post"]
        assert errors(found, debit["requestBody"], {**requests[3][1], "request_id": "q", "amount": amount})


def errors(document: dict[str, Any], holder: dict[str, Any], value: Any) -> list[str]:
    schema = {**holder["content"]["application/json"]["schema"], "components": document["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


async def test_the_guide_lists_every_word_with_its_status() -> None:
    page = (ROOT / "docs/guide/third-party-games.md").read_text(encoding="utf-8")
    rows = {word: int(status) for status, word in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", page, re.MULTILINE)}
    assert rows == {word: STATUS_OF[kind.code] for kind, word in WORDS.items()}
