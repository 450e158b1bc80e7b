"""Rows of the tables from core values, and back.

Encoding happens on the caller's side of the queue, so a value that cannot be encoded fails alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast, get_args

import msgspec
from sqlalchemy import RowMapping

from octant.core.audit import AuditRecord, ChainedAudit
from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.events import AnyEvent, Event
from octant.core.manifest import ExecutionManifest
from octant.core.record import decode, encode, from_builtins
from octant.core.recording import Recording
from octant.core.session import Session, SessionAppend
from octant.ports.store import ApiKey, Settlement, Tenant, UsageLine

Row = dict[str, Any]

_EVENT_KINDS: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in cast("tuple[type[Event]]", get_args(AnyEvent))
}


class TurnRows(NamedTuple):
    """A turn with its new placeholders, and what the head of its session becomes."""

    head: Row
    turn: Row
    placeholders: list[Row]

    @property
    def session(self) -> tuple[str, str]:
        """Tenant and id."""
        return self.turn["tenant"], self.turn["session"]


class SettlementRows(NamedTuple):
    """What one settlement adds to each table."""

    outcome: Row
    ledger: Row
    audit: list[Row]
    manifest: Row | None
    trace: Row
    turn: TurnRows | None


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
            "summary": encode(settlement.summary).decode() if settlement.summary else None,
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
        manifest=None if manifest is None else of_manifest(manifest),
        trace={
            "request_id": request_id,
            "events": encode_events(settlement.events),
            "recording": encode_recording(settlement.recording),
        },
        turn=of_append(settlement.session) if settlement.session else None,
    )


def of_manifest(manifest: ExecutionManifest) -> Row:
    return {
        "request_id": manifest.request_id,
        "record": encode(manifest).decode(),
        "session": manifest.session,
    }


def of_append(append: SessionAppend) -> TurnRows:
    turn = append.turn
    session = {"tenant": append.tenant, "session": append.session}
    version = append.expected_version + 1
    return TurnRows(
        head={
            "in_tenant": append.tenant,
            "with_id": append.session,
            "new_version": version,
            "at_unix_ns": turn.at_unix_ns,
        },
        turn=session
        | {"version": version, "request_id": turn.request_id, "record": encode(turn).decode()},
        placeholders=[
            session | {"placeholder": placeholder, "version": version, "value": value}
            for placeholder, value in append.placeholders.items()
        ],
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


def of_session(session: Session) -> Row:
    return {
        "tenant": session.tenant,
        "id": session.id,
        "version": session.version,
        "updated_unix_ns": session.updated_unix_ns,
        "record": encode(session).decode(),
    }


def of_recipe(recipe: Recipe) -> Row:
    return {
        "digest": recipe.digest,
        "name": recipe.name,
        "model": recipe.model,
        "record": encode(recipe).decode(),
    }


def of_deployment(deployment: Deployment) -> Row:
    return {
        "id": deployment.id,
        "model": deployment.model,
        "recipe_digest": deployment.recipe_digest,
        "created_unix_ns": deployment.created_unix_ns,
        "record": encode(deployment).decode(),
    }


def of_traffic(split: Traffic) -> Row:
    return {
        "model": split.model,
        "version": split.version,
        "changed_unix_ns": split.changed_unix_ns,
        "record": encode(split).decode(),
    }


def to_usage(found: Sequence[RowMapping]) -> list[UsageLine]:
    return [UsageLine(**cast("dict[str, Any]", row)) for row in found]


def to_chained(found: Sequence[RowMapping]) -> list[ChainedAudit]:
    """Links of the audit chain, their columns given as bytes."""
    return [_chained(row) for row in found]


def _chained(row: RowMapping) -> ChainedAudit:
    # Whatever stands in a file that was tampered with becomes a link that does not fit.
    encoded = row["record"] or b""
    return ChainedAudit(
        seq=row["seq"],
        encoded=encoded,
        previous=(row["previous"] or b"").decode(errors="replace"),
        digest=(row["digest"] or b"").decode(errors="replace"),
        filed=_is_filed(encoded, row),
    )


def _is_filed(encoded: bytes, row: RowMapping) -> bool:
    try:
        record = decode(encoded, AuditRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    texts = (record.tenant, record.request_id, record.action, str(record.at_unix_ns))
    columns = (row["tenant"], row["request_id"], row["action"], row["at_unix_ns"])
    return columns == tuple(None if text is None else text.encode() for text in texts)


def encode_recording(recording: Recording | None) -> bytes | None:
    """MessagePack, for the reasons of `encode_events`; thousands of token ids are most of it."""
    return None if recording is None else msgspec.msgpack.encode(recording)


def decode_recording(data: bytes) -> Recording:
    return from_builtins(msgspec.msgpack.decode(data), Recording)


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
