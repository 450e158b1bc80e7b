"""Envelopes and routes for tests: complete, ordinary, and easy to vary."""

from typing import Any

import msgspec

from octant.core.content import ChatInput, Message, Role, TextPart
from octant.core.envelope import Api, ModelConstraints, RequestEnvelope
from octant.core.identity import Principal, Scope
from octant.core.ids import ActorId, KeyId, ReleaseId, RequestId, RouteId, TenantId, TraceId
from octant.core.limits import Deadline, DeadlineOrigin, Profile
from octant.core.route import DeploymentState, Route, RouteLoad
from octant.core.sampling import Sampling
from octant.core.units import NS_PER_S

PRINCIPAL = Principal(
    actor=ActorId("alice"),
    tenant=TenantId("acme"),
    key_id=KeyId("key_1"),
    scopes=(Scope.INFERENCE,),
)


def chat(text: str) -> ChatInput:
    """One user message."""
    return ChatInput(messages=(Message(role=Role.USER, parts=(TextPart(text=text),)),))


def envelope(number: int = 1, **changes: Any) -> RequestEnvelope:
    """A chat request received at instant 0 with ten seconds to go."""
    ordinary = RequestEnvelope(
        request_id=RequestId(f"req_{number:032x}"),
        trace_id=TraceId(f"{number:032x}"),
        principal=PRINCIPAL,
        api=Api.CHAT_COMPLETIONS,
        input=chat("Hello"),
        input_bytes=5,
        sampling=Sampling(max_tokens=16),
        model=ModelConstraints(name="m"),
        profile=Profile.INTERACTIVE,
        deadline=Deadline(at_ns=10 * NS_PER_S, origin=DeadlineOrigin.PROFILE),
        received_ns=0,
        received_unix_ns=1_790_000_000 * NS_PER_S,
    )
    return msgspec.structs.replace(ordinary, **changes)


def route(name: str = "r", **changes: Any) -> Route:
    """A route with a context of 512 tokens."""
    ordinary = Route(
        id=RouteId(name), model="m", release=ReleaseId("1"), engine="openvino", max_context=512
    )
    return msgspec.structs.replace(ordinary, **changes)


READY = RouteLoad(state=DeploymentState.READY)
