"""Rows of the tables from core values, and back.

Encoding happens on the caller's side of the queue, so a value that cannot be encoded fails alone.
"""

from typing import Any, NamedTuple, cast, get_args

import msgspec

from octant.core.audit import AuditRecord
from octant.core.events import AnyEvent, Event
from octant.core.record import encode, from_builtins
from octant.ports.store import ApiKey, Settlement, Tenant

Row = dict[str, Any]

_EVENT_KINDS: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in cast("tuple[type[Event]]", get_args(AnyEvent))
}


class SettlementRows(NamedTuple):
    """What one settlement adds to each table."""

    outcome: Row
    ledger: Row
    audit: list[Row]
    manifest: Row | None
    trace: Row


def of_settlement(settlement: Settlement) -> SettlementRows:
    """Raises msgspec.EncodeError, TypeError or OverflowError on values that have no JSON form."""
    outcome, manifest = settlement.outcome, settlement.manifest
    request_id, usage = outcome.request_id, outcome.usage
    shared = {"request_id": request_id, "tenant": outcome.tenant, "key_id": outcome.key_id}
    return SettlementRows(
        outcome=shared
        | {
            "model": outcome.model,
            "profile": outcome.profile.value,
            "status": outcome.status.value,
            "failure_kind": outcome.failure.kind.value if outcome.failure else None,
            "received_unix_ns": outcome.received_unix_ns,
            "record": encode(outcome).decode(),
        },
        ledger=shared
        | {
            "month": settlement.month,
            "model": outcome.model,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_nano_usd": outcome.cost_nano_usd,
        },
        audit=[of_audit(record) for record in settlement.audit],
        manifest=(
            {"request_id": request_id, "record": encode(manifest).decode()} if manifest else None
        ),
        trace={"request_id": request_id, "events": encode_events(settlement.events)},
    )


def of_audit(record: AuditRecord) -> Row:
    return {
        "tenant": record.tenant,
        "request_id": record.request_id,
        "action": record.action,
        "at_unix_ns": record.at_unix_ns,
        "record": encode(record).decode(),
    }


def of_tenant(tenant: Tenant) -> Row:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "budget_nano_usd": tenant.budget_nano_usd,
        "created_unix_ns": tenant.created_unix_ns,
        "record": encode(tenant).decode(),
    }


def of_key(key: ApiKey) -> Row:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "prefix": key.prefix,
        "created_unix_ns": key.created_unix_ns,
        "expires_unix_ns": key.expires_unix_ns,
        "revoked_unix_ns": key.revoked_unix_ns,
        "record": encode(key).decode(),
    }


def encode_events(events: tuple[AnyEvent, ...]) -> bytes:
    """MessagePack without defaults: a third of the size of JSON, and encoded in C.

    Events are minted by this build, so they carry no unknown fields to put back in place.
    """
    return msgspec.msgpack.encode(events)


def decode_events(data: bytes) -> list[AnyEvent]:
    """The events in order of time; kinds that only a newer version knows are left out."""
    raw = cast("list[dict[str, Any]]", msgspec.msgpack.decode(data))
    known = [(_EVENT_KINDS[item["event"]], item) for item in raw if item["event"] in _EVENT_KINDS]
    events = [cast("AnyEvent", from_builtins(item, kind)) for kind, item in known]
    return sorted(events, key=lambda event: event.at_ns)
