"""Inference: the endpoint behind chat completions, completions and runs.

    head -> draining? -> identity -> body -> question -> envelope -> exchange

Law: each step is cheaper than the next one and refuses before it. Whoever is refused here has cost
no retrieval and no model work.
"""

import asyncio

from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Scope
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.gateway import headers
from octant.gateway.body import body_of
from octant.gateway.dialects.dialect import Answering, Dialect, Question
from octant.gateway.dialects.octant_terms import check_schema
from octant.gateway.envelopes import Understood, build_envelope
from octant.gateway.exchange import Exchange, StreamExchange
from octant.gateway.failures import milliseconds
from octant.gateway.headers import Head
from octant.gateway.reply import JSON
from octant.gateway.routing import Call
from octant.gateway.services import GatewayServices

_SCOPES = (Scope.INFERENCE,)
_SHORTEST_KEEP_ALIVE_MS = 100


class Inference:
    """One dialect's endpoint."""

    def __init__(self, services: GatewayServices, dialect: Dialect) -> None:
        self._services = services
        self._dialect = dialect

    async def __call__(self, call: Call) -> None:
        """Answers `call`. Raises Failed for a refusal, ClientGone and SlowReader."""
        if self._services.drain.draining:
            raise Failed(_draining(self._services.settings.draining_retry_after_ms))
        with self._services.drain.request():
            envelope, question = await self._understand(call)
            await self._answer(call, envelope, question)

    async def _understand(self, call: Call) -> tuple[RequestEnvelope, Question]:
        head, settings = call.head, self._services.settings
        identity = await self._services.authenticator.authenticate(
            head.headers.get(b"authorization"), _SCOPES
        )
        body = await body_of(call, settings)
        question = await self._read(body)
        understood = Understood(self._dialect.api, len(body), question)
        return build_envelope(head, identity, understood, settings), question

    async def _read(self, body: bytes) -> Question:
        """Long bodies are read on a thread, so that none of them holds up the event loop, and
        schemas are compiled there, whatever their length."""
        settings, defaults = self._services.settings, self._services.routes.default_sampling
        if len(body) > settings.long_context_bytes:
            question = await asyncio.to_thread(self._dialect.read, body, settings, defaults)
        else:
            question = self._dialect.read(body, settings, defaults)
        output = question.terms.output
        if output is not None:
            await asyncio.to_thread(check_schema, output, self._dialect.extras_at)
        return question

    async def _answer(self, call: Call, envelope: RequestEnvelope, question: Question) -> None:
        path = self._services.path
        call.reply.late = lambda: headers.rate_limit_headers(path.rate_limits(envelope))
        answering = Answering(
            request_id=envelope.request_id,
            trace_id=envelope.trace_id,
            created_unix_s=envelope.received_unix_ns // NS_PER_S,
            question=question,
        )
        # The path settles and counts its own failures: they are answers, not refusals.
        if question.stream:
            await self._stream(call, envelope, answering)
        else:
            await self._whole(call, envelope, answering)

    async def _whole(self, call: Call, envelope: RequestEnvelope, answering: Answering) -> None:
        exchange = Exchange(self._services, envelope)
        body, failure = await exchange.whole(call.receive, self._dialect.whole(answering))
        if failure is not None:
            await call.reply.failure(failure, body=body)
            return
        taken_ns = self._services.clock.monotonic_ns() - call.head.received_ns
        timing = [(b"openai-processing-ms", milliseconds(taken_ns))]
        await call.reply.whole(200, JSON, body, timing)

    async def _stream(self, call: Call, envelope: RequestEnvelope, answering: Answering) -> None:
        interval_ns = self._keep_alive_ns(call.head)
        exchange = StreamExchange(self._services, envelope, call.reply, interval_ns)
        broken = await exchange.run(call.receive, self._dialect.stream(answering))
        if broken is not None:
            body = self._dialect.whole(answering).failure(broken)
            await call.reply.failure(broken.failure, body=body)

    def _keep_alive_ns(self, head: Head) -> int:
        """Often enough that the caller's own timeout between two bytes never strikes."""
        interval_ms = self._services.settings.keep_alive_interval_ms
        timeout_ms = headers.read_timeout_ms(head)
        if timeout_ms is not None:
            interval_ms = min(interval_ms, max(timeout_ms // 2, _SHORTEST_KEEP_ALIVE_MS))
        return interval_ms * NS_PER_MS


def _draining(retry_after_ms: int) -> Failure:
    return Failure(
        kind=FailureKind.DRAINING,
        stage=Stage.BOUNDARY,
        message="This server is shutting down and takes no new requests. Try again shortly.",
        retry_after_ns=retry_after_ms * NS_PER_MS,
    )
