"""Schemas: the native contract as JSON Schema, made from the types that read and write it.

Law: names carry a version, and a schema of one name only ever grows. What is served here is public:
no key is needed.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from octant.core.failure import FailureKind
from octant.gateway.dialects.dialect import encode_json
from octant.gateway.dialects.octant_extras import OCTANT_FIELD, OctantObject
from octant.gateway.dialects.run_report import RunReport
from octant.gateway.dialects.run_shapes import RunEvent, RunResponse
from octant.gateway.dialects.runs import FIELDS as RUN_FIELDS
from octant.gateway.dialects.runs import RunBody
from octant.gateway.failures import refuse
from octant.gateway.fields import Field
from octant.gateway.reply import JSON
from octant.gateway.routing import Call
from octant.gateway.sessions import ConversationObject, SessionObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA_JSON = b"application/schema+json"


class Contract(NamedTuple):
    """One shape of the wire. `fields` describe what is inside it, where callers write it."""

    shape: Any
    title: str
    fields: Sequence[Field] = ()


CONTRACTS: dict[str, Contract] = {
    "run-request.v1": Contract(RunBody, "The body of POST /v1/runs", tuple(RUN_FIELDS.values())),
    "run-response.v1": Contract(RunResponse, "The answer of POST /v1/runs"),
    "run-event.v1": Contract(RunEvent, "The data of one event of a streamed run"),
    "octant-object.v1": Contract(
        OctantObject, "`octant` in a body of the OpenAI endpoints", OCTANT_FIELD.inside
    ),
    "octant-report.v1": Contract(RunReport, "`octant` in an answer of the OpenAI endpoints"),
    "session.v1": Contract(SessionObject, "A session"),
    "conversation.v1": Contract(ConversationObject, "A session with its turns"),
}


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema of that name. Raises KeyError."""
    contract = CONTRACTS[name]
    made = msgspec.json.schema(contract.shape)
    _describe(made, contract.fields, made["$defs"])
    return {"$schema": _DIALECT, **made, "title": contract.title}


def _describe(node: dict[str, Any], fields: Sequence[Field], shapes: dict[str, Any]) -> None:
    """Puts the notes of `fields` into every object that `node` may be or hold."""
    if "$ref" in node:
        _describe(shapes[node["$ref"].rpartition("/")[2]], fields, shapes)
    for inner in (*node.get("anyOf", ()), *([node["items"]] if "items" in node else ())):
        _describe(inner, fields, shapes)
    for field in fields:
        if field.name in node.get("properties", ()):
            described = node["properties"][field.name]
            described["description"] = field.note
            _describe(described, field.inside, shapes)


class Schemas:
    """The endpoints that serve them."""

    async def listing(self, call: Call) -> None:
        """`GET /v1/schemas`."""
        data = [
            {"id": name, "object": "schema", "title": contract.title, "url": f"/v1/schemas/{name}"}
            for name, contract in CONTRACTS.items()
        ]
        await call.reply.whole(200, JSON, encode_json({"object": "list", "data": data}))

    async def show(self, call: Call) -> None:
        """`GET /v1/schemas/{name}`. Raises Failed(NOT_FOUND)."""
        name = call.names["name"]
        if name not in CONTRACTS:
            refuse(
                FailureKind.NOT_FOUND,
                f"There is no schema '{name[:100]}'. Known are {', '.join(CONTRACTS)}.",
                "name",
            )
        await call.reply.whole(200, _SCHEMA_JSON, encode_json(schema(name)))
