"""Tenants, keys and settlements for tests of the store."""

from typing import Any

import msgspec

from octant.core.audit import AuditRecord
from octant.core.content import Message, Role, TextPart
from octant.core.deployment import Deployment, Probe, Recipe, Traffic
from octant.core.events import FirstToken, RequestSettled
from octant.core.failure import Failure, FailureKind
from octant.core.ids import (
    ActorId,
    KeyId,
    ReleaseId,
    RequestId,
    RouteId,
    SessionId,
    TenantId,
    TraceId,
)
from octant.core.limits import Objective, Profile, TenantLimits
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.recording import RecordedStep, Recording
from octant.core.sampling import Sampling
from octant.core.session import Session, SessionAppend, SessionTurn
from octant.core.stage import Stage
from octant.core.summary import RouteSummary, RunSummary, StageTime
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


def whole_settlement(number: int, *, session: int, version: int, **changes: Any) -> Settlement:
    """All that a request can leave: summary, recording and the turn behind `version` too."""
    ordinary = settlement(number, **changes)
    return msgspec.structs.replace(
        ordinary,
        summary=summary(number),
        recording=recording(number),
        session=append(number, session=session, version=version),
    )


def summary(number: int) -> RunSummary:
    """What the caller of request `number` was told of it."""
    return RunSummary(
        request_id=request_id(number),
        trace_id=TraceId(f"{number:032x}"),
        status=OutcomeStatus.COMPLETED,
        route=RouteSummary(id=RouteId("r"), release=ReleaseId("1"), model="m", engine="openvino"),
        stages=tuple(StageTime(stage=stage.value, duration_ns=5) for stage in Stage)[:8],
        usage=Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=5),
        cost_nano_usd=NanoUsd(7),
    )


def recording(number: int) -> Recording:
    """The tokens of request `number`."""
    step = RecordedStep(
        step=1,
        attempt=1,
        route=RouteId("r"),
        prompt_tokens=tuple(range(100)),
        sampling=Sampling(max_tokens=16, logit_bias={50: -1.5}),
        seed=1,
        outputs=(tuple(range(16)),),
        finish_reasons=(FinishReason.LENGTH,),
    )
    return Recording(request_id=request_id(number), steps=(step,))


def session(number: int, **changes: Any) -> Session:
    """An empty session of Acme."""
    ordinary = Session(
        id=session_id(number),
        tenant=ACME.id,
        actor=ActorId("alice"),
        title="Plans",
        created_unix_ns=10,
        updated_unix_ns=10 + number,
    )
    return msgspec.structs.replace(ordinary, **changes)


def append(number: int, *, session: int, version: int, **changes: Any) -> SessionAppend:
    """The turn of request `number` behind `version`; it brings one placeholder."""
    turn = SessionTurn(
        version=version + 1,
        request_id=request_id(number),
        messages=(
            Message(role=Role.USER, parts=(TextPart(text=f"question {number}"),)),
            Message(role=Role.ASSISTANT, parts=(TextPart(text=f"answer {number}"),)),
        ),
        at_unix_ns=1_000 + number,
    )
    ordinary = SessionAppend(
        session=session_id(session),
        tenant=ACME.id,
        expected_version=version,
        turn=turn,
        placeholders={f"<EMAIL_{version + 1}>": f"person{number}@example.org"},
    )
    return msgspec.structs.replace(ordinary, **changes)


def audited(action: str, **changes: Any) -> AuditRecord:
    """An action that no settlement carries."""
    ordinary = AuditRecord(
        request_id=None,
        tenant=ACME.id,
        key_id=None,
        action=action,
        decision="allowed",
        policy_version="sha256:0",
        rule="operators",
        at_unix_ns=5,
    )
    return msgspec.structs.replace(ordinary, **changes)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe whose digest is made of its name."""
    ordinary = Recipe(
        name=name,
        model="m",
        label="fast",
        description="int8 weights",
        artifact_digest="sha256:a",
        tokenizer_digest="sha256:b",
        location="models/m",
        engine="openvino",
        engine_version="1",
        weight_precision="int8",
        kv_precision="u8",
        max_context=1024,
        working_context=512,
        max_sequences=8,
        objective=Objective(ttft_ms=500, tpot_ms=50, total_ms=60_000),
        probe=Probe(user="2+2?", expect="4"),
        digest=f"sha256:{name}",
    )
    return msgspec.structs.replace(ordinary, **changes)


def deployment(name: str, recipe_name: str, **changes: Any) -> Deployment:
    """A route that is to run a recipe."""
    ordinary = Deployment(
        id=RouteId(name),
        model="m",
        release=ReleaseId("1"),
        recipe_digest=f"sha256:{recipe_name}",
        created_unix_ns=7,
    )
    return msgspec.structs.replace(ordinary, **changes)


def traffic(version: int, *, model: str = "m", first: int = 1) -> Traffic:
    """Split number `version` of a model over two releases."""
    return Traffic(
        model=model,
        weights={ReleaseId("1"): first, ReleaseId("2"): version},
        version=version,
        changed_unix_ns=version,
        changed_by="alice",
    )


def session_id(number: int) -> SessionId:
    """The id of session `number`."""
    return SessionId(f"ses_{number:032x}")


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
