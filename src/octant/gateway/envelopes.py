"""Envelopes: the last step of the gateway's reading, everything known becomes one value.

Law: the smallest limit on time wins and is named; no caller gets more time than the profile gives,
nor a lower risk class than its tenant has.
"""

from typing import NamedTuple

from octant.core.envelope import Api, RequestEnvelope
from octant.core.limits import Deadline, DeadlineOrigin, Profile
from octant.core.units import NS_PER_MS
from octant.gateway import headers
from octant.gateway.authentication import Identity
from octant.gateway.dialects.dialect import Question
from octant.gateway.headers import Head
from octant.gateway.settings import GatewaySettings


class Understood(NamedTuple):
    """A body that was read: through which API, how long it was, what it asks."""

    api: Api
    body_bytes: int
    question: Question


def build_envelope(
    head: Head, identity: Identity, understood: Understood, settings: GatewaySettings
) -> RequestEnvelope:
    """The envelope. Raises Failed(INVALID_VALUE) for a header that cannot be understood."""
    question, terms = understood.question, understood.question.terms
    chosen = terms.profile or headers.profile(head) or _default(understood, settings)
    return RequestEnvelope(
        request_id=head.request_id,
        trace_id=head.trace_id,
        parent_span_id=head.parent_span_id,
        client_request_id=headers.client_request_id(head),
        idempotency_key=headers.idempotency_key(head),
        principal=identity.principal,
        allowance=identity.allowance,
        api=understood.api,
        input=question.input,
        input_bytes=understood.body_bytes,
        sampling=question.sampling,
        model=question.model,
        profile=chosen,
        deadline=_deadline(head, question, settings.deadline_ms(chosen)),
        budget=terms.budget,
        session=terms.session,
        context=terms.context,
        tools=terms.tools,
        output=terms.output,
        trace=terms.trace,
        risk=identity.risk.or_higher(terms.risk),
        stream=question.stream,
        cache_salt=terms.cache_salt,
        received_ns=head.received_ns,
        received_unix_ns=head.received_unix_ns,
    )


def _default(understood: Understood, settings: GatewaySettings) -> Profile:
    long = understood.body_bytes > settings.long_context_bytes
    return Profile.LONG_CONTEXT if long else Profile.INTERACTIVE


def _deadline(head: Head, question: Question, profile_ms: int) -> Deadline:
    limits = [
        (headers.deadline_ms(head), DeadlineOrigin.HEADER),
        (question.terms.deadline_ms, DeadlineOrigin.BODY),
        (_client_timeout_ms(head, question), DeadlineOrigin.CLIENT_TIMEOUT),
        (profile_ms, DeadlineOrigin.PROFILE),
    ]
    set_limits = [(limit, origin) for limit, origin in limits if limit is not None]
    smallest_ms, origin = min(set_limits, key=lambda pair: pair[0])
    return Deadline(at_ns=head.received_ns + smallest_ms * NS_PER_MS, origin=origin)


def _client_timeout_ms(head: Head, question: Question) -> int | None:
    # The client counts from byte to byte: for a stream, which is kept alive, that is no end.
    return None if question.stream else headers.read_timeout_ms(head)
