"""Tenants, keys and settlements for tests of the store."""

from typing import Any

import msgspec

from octant.core.audit import AuditRecord
from octant.core.events import FirstToken, RequestSettled
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ActorId, KeyId, ReleaseId, RequestId, RouteId, TenantId, TraceId
from octant.core.limits import Profile, TenantLimits
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.units import NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.ports.store import ApiKey, Settlement, Tenant

ACME = Tenant(
    id=TenantId("acme"),
    name="Acme",
    limits=TenantLimits(requests_per_minute=60),
    budget_nano_usd=NanoUsd(5_000),
    created_unix_ns=1,
)
UMBRELLA = Tenant(id=TenantId("umbrella"), name="Umbrella", created_unix_ns=2)
MONTH = "2026-11"


def api_key(name: str = "k1", **changes: Any) -> ApiKey:
    """A key of Acme, its prefix made of its name."""
    ordinary = ApiKey(
        id=KeyId(name),
        tenant=ACME.id,
        actor=ActorId("alice"),
        prefix=f"oct_{name}",
        digest=b"\x00\xff" * 16,
        name="laptop",
        created_unix_ns=3,
    )
    return msgspec.structs.replace(ordinary, **changes)


def outcome(number: int, **changes: Any) -> Outcome:
    """A completed request of Acme that cost seven nano-USD."""
    ordinary = Outcome(
        request_id=request_id(number),
        trace_id=TraceId(f"{number:032x}"),
        tenant=ACME.id,
        key_id=KeyId("k1"),
        model="m",
        route=RouteId("r"),
        profile=Profile.INTERACTIVE,
        status=OutcomeStatus.COMPLETED,
        finish_reasons=(FinishReason.STOP,),
        attempts=1,
        usage=Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=5),
        cost_nano_usd=NanoUsd(7),
        received_unix_ns=1_790_000_000_000_000_000 + number,
        duration_ns=1_000,
        time_to_first_token_ns=100,
    )
    return msgspec.structs.replace(ordinary, **changes)


def failed_outcome(number: int) -> Outcome:
    """A request that was refused before any work."""
    failure = Failure(kind=FailureKind.OVERLOADED, stage=Stage.ADMISSION, message="full")
    return outcome(
        number,
        status=OutcomeStatus.FAILED,
        failure=failure,
        finish_reasons=(),
        usage=Usage(),
        cost_nano_usd=NanoUsd(0),
    )


def settlement(number: int, *, month: str = MONTH, **changes: Any) -> Settlement:
    """Everything that the request `number` leaves behind."""
    ended = outcome(number, **changes)
    return Settlement(
        outcome=ended,
        manifest=manifest(number),
        audit=(
            AuditRecord(
                request_id=ended.request_id,
                tenant=ended.tenant,
                key_id=ended.key_id,
                action="inference",
                decision=ended.status.value,
                policy_version="sha256:0",
                rule="input.allowed",
                at_unix_ns=ended.received_unix_ns,
                detail={"model": "m", "total_tokens": 15},
            ),
        ),
        events=(
            RequestSettled(at_ns=9, request_id=ended.request_id, outcome=ended, stored=True),
            FirstToken(at_ns=5, request_id=ended.request_id, choice=0),
        ),
        month=month,
    )


def manifest(number: int) -> ExecutionManifest:
    """What request `number` ran under, logit bias (a table with numbers as keys) included."""
    return ExecutionManifest(
        request_id=request_id(number),
        route=RouteId("r"),
        release=ReleaseId("1"),
        model="m",
        artifact_digest="sha256:a",
        tokenizer_digest="sha256:b",
        engine="openvino",
        engine_version="1",
        weight_precision="int8",
        kv_precision="u8",
        prompt_digest="sha256:c",
        prompt_tokens=10,
        sampling=Sampling(max_tokens=16, logit_bias={50: -1.5}),
        seed=1,
        policy_version="sha256:0",
    )


def request_id(number: int) -> RequestId:
    """The id of request `number`."""
    return RequestId(f"req_{number:032x}")
