"""OpenAPI documents made of the operation table: paths, requests and answers as the gateway takes and gives them."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import inspect

from palestra.gateway.fields import INTEGER_TEXT, query_fields
from palestra.gateway.http.answer import ErrorBody, RpcErrorBody, WordedErrorBody
from palestra.gateway.operation import Auth, Call, Empty, Operation

Schema = dict[str, Any]
Refusals = Callable[[Operation], dict[str, str]]
"""What an operation may be refused with: descriptions by status, or by "default"."""

FUNCTION_PAYLOAD: Schema = {"type": ["string", "null"], "contentMediaType": "application/json"}
REFERENCE = "#/components/schemas/"
_NEEDED = {
    Auth.NONE: [],
    Auth.SERVER_KEY: [{"serverKey": []}],
    Auth.SESSION: [{"session": []}],
    Auth.SESSION_OR_HTTP_KEY: [{"session": []}, {"httpKey": []}, {"httpKeyAsUser": []}],
}


class FunctionAnswer(msgspec.Struct):
    """What a function of the game answered, as text."""

    payload: str


def document(operations: Sequence[Operation], info: Schema, schemes: Schema, refusals: Refusals) -> Schema:
    """An OpenAPI 3.1 document. `schemes` are its security schemes: for signed operations all of them together.

    An answer's type is what the handler says it returns.
    """
    writer = _Writer(operations, [{name: [] for name in schemes}], refusals)
    paths: dict[str, Schema] = {}
    times: Counter[str] = Counter()
    for operation in operations:
        times[operation.name] += 1
        count = times[operation.name]
        told = {"operationId": operation.name if count == 1 else f"{operation.name}_{count}"}
        paths.setdefault(operation.path, {})[operation.method.lower()] = told | writer.operation(operation)
    return {
        "openapi": "3.1.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": _spoken_of(paths, writer.schemas), "securitySchemes": schemes},
    }


class Served:
    """A document to be served: made when it is first asked for, and kept."""

    def __init__(self, make: Callable[[], Schema]) -> None:
        self._make = make
        self._kept: msgspec.Raw | None = None

    async def answer(self, call: Call, request: Empty) -> msgspec.Raw:
        """The description of these operations, in OpenAPI 3.1."""
        if self._kept is None:
            self._kept = msgspec.Raw(msgspec.json.encode(self._make()))
        return self._kept


class _Writer:
    """Describes operations one by one; `schemas` holds every struct they speak of."""

    def __init__(self, operations: Iterable[Operation], signed: list[Schema], refusals: Refusals) -> None:
        self._needed = {**_NEEDED, Auth.SIGNATURE: signed}
        self._refusals = refusals
        self._references: dict[type, Schema] = {}
        self._plain: dict[type, Schema] = {}
        """Structs as a query spells their fields."""
        self.schemas: dict[str, Schema] = {}
        self._add(operations)

    def _add(self, operations: Iterable[Operation]) -> None:
        requests: dict[type, bool] = {}
        answers: dict[type, None] = {}
        for operation in operations:
            for kind in _structs(operation.request):
                requests[kind] = operation.auth is not Auth.SIGNATURE
            for kind in (_answer_of(operation), _error_of(operation)):
                answers.update(dict.fromkeys(_structs(kind)))
        kinds = list({**requests, **answers})
        references, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE + "{name}")
        for kind, reference in zip(kinds, references, strict=True):
            schema = components[_name(reference)]
            _mark_times(kind, schema)
            loose = requests.get(kind, False)
            self._plain[kind] = _shaped(schema, texts=False, nulls=not loose)
            self._references[kind] = _shaped(reference, texts=False, nulls=True)
            omitted = kind in answers and kind.__struct_config__.omit_defaults  # type: ignore[attr-defined]
            self.schemas[_name(self._references[kind])] = _shaped(schema, texts=loose, nulls=not (loose or omitted))

    def operation(self, operation: Operation) -> Schema:
        """One operation."""
        summary, _, more = cleandoc(operation.handler.__doc__ or "").partition("\n")
        told: Schema = {
            "tags": [operation.name.partition(".")[0]],
            "summary": summary,
            "description": more.strip(),
            "security": self._needed[operation.auth],
            "parameters": [*self._path(operation), *self._query(operation)],
            "requestBody": self._body(operation),
            "responses": self._answers(operation),
        }
        return {name: value for name, value in told.items() if value or name == "security"}

    def _path(self, operation: Operation) -> list[Schema]:
        return [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _names(operation)
        ]

    def _query(self, operation: Operation) -> list[Schema]:
        if operation.raw or operation.body == "*":
            return []
        taken = {*_names(operation), operation.body}
        known = {name for name, _, _ in query_fields(operation.request).values()} - taken
        fields = self._plain[operation.request].get("properties", {})
        return [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items() if name in known]

    def _body(self, operation: Operation) -> Schema | None:
        if operation.raw:
            return _json(FUNCTION_PAYLOAD) if operation.method == "POST" else None
        if not operation.body:
            return None
        reference = self._references[operation.request]
        whole = self.schemas[_name(reference)]
        if operation.body != "*":
            return _json(whole["properties"][operation.body])
        names = _names(operation)
        if names:
            fields = {name: schema for name, schema in whole["properties"].items() if name not in names}
            return _json({**whole, "properties": fields})
        return {"required": True, **_json(reference)} if operation.auth is Auth.SIGNATURE else _json(reference)

    def _answers(self, operation: Operation) -> Schema:
        answer = _answer_of(operation)
        error = _json(self._references[_error_of(operation)])
        refused = {
            status: {"description": description, **error} for status, description in self._refusals(operation).items()
        }
        return {"200": {"description": "Done", **_json(self._references.get(answer, {}))}, **refused}


def _name(reference: Schema) -> str:
    return reference["$ref"].removeprefix(REFERENCE)


def _spoken_of(paths: Schema, schemas: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas that are referred to, from paths or from one another: structs that fill a query are not."""
    found: dict[str, Schema] = {}
    waiting: list[Any] = [paths]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            if isinstance(holder.get("$ref"), str) and (name := _name(holder)) not in found:
                found[name] = schemas[name]
                waiting.append(schemas[name])
            waiting += holder.values()
        elif isinstance(holder, list):
            waiting += holder
    return dict(sorted(found.items()))


def _names(operation: Operation) -> list[str]:
    return [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _answer_of(operation: Operation) -> Any:
    """The type of an answer; nothing is `{}` on the wire."""
    if operation.raw:
        return FunctionAnswer
    found = typing.get_type_hints(operation.handler)["return"]
    return Empty if found is type(None) else found


def _error_of(operation: Operation) -> type[msgspec.Struct]:
    if operation.raw:
        return RpcErrorBody
    return WordedErrorBody if operation.auth is Auth.SIGNATURE else ErrorBody


def _structs(kind: Any) -> list[type]:
    """A struct and those within it."""
    found: dict[type, None] = {}
    waiting: list[Any] = [inspect.type_info(kind)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, inspect.StructType) and info.cls not in found:
            found[info.cls] = None
            waiting += [field.type for field in info.fields]
        for name in ("item_type", "value_type", "type"):
            waiting += [inner] if isinstance(inner := getattr(info, name, None), inspect.Type) else []
        for name in ("item_types", "types"):
            waiting += getattr(info, name, ())
    return list(found)


def _mark_times(kind: type, schema: Schema) -> None:
    """Say which texts are times: msgspec says so only of those whose type demands a zone."""
    for field in inspect.type_info(kind).fields:  # type: ignore[union-attr]
        inner = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        if any(isinstance(one, inspect.DateTimeType) for one in inner):
            told = schema["properties"][field.encode_name]
            next(one for one in told.get("anyOf", [told]) if one.get("type") == "string")["format"] = "date-time"


def _shaped(schema: Any, *, texts: bool, nulls: bool) -> Any:
    """A schema of msgspec's as the gateway speaks it.

    With `texts`, integers may come as texts and enums by name. Without `nulls`, what has no value is left out. Structs
    of features are named after feature and file where their own name is not enough.
    """
    if isinstance(schema, list):
        return [_shaped(one, texts=texts, nulls=nulls) for one in schema]
    if not isinstance(schema, dict):
        return cleandoc(schema) if isinstance(schema, str) else schema
    found = {name: _shaped(value, texts=texts, nulls=nulls) for name, value in schema.items()}
    if isinstance(found.get("$ref"), str):
        found["$ref"] = found["$ref"].replace("palestra.features.", "").replace(".wire.", ".")
    if not nulls and isinstance(found.get("anyOf"), list):
        kept = [one for one in found.pop("anyOf") if one != {"type": "null"}]
        found |= kept[0] if len(kept) == 1 else {"anyOf": kept}
        if "default" in found and found["default"] is None:
            del found["default"]
    names = found.pop("x-names", None)
    if texts and found.get("type") == "integer":
        outside = {name: found.pop(name) for name in ("default", "description") if name in found}
        as_text = [{"type": "string", "pattern": INTEGER_TEXT}]
        by_name = [{"type": "string", "enum": names}] if names else []
        return {"anyOf": [found, *as_text, *by_name], **outside}
    return found
