"""The life of a request, on one page.

    RequestEnvelope -> Admitted -> Verdict -> Conversation -> Screened -> Evidence -> Prepared
                    -> items of the answer -> Outcome, committed

Law: each step takes one value and returns the next. A failure anywhere becomes one `Broken`; what
was reserved is released and the outcome is committed in one place, however the request ended, and
the terminal item is passed on only after that commit.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple, TypeVar

from octant.admission.control import AdmissionControl, Admitted, Estimate, RateLimitStatus
from octant.core.envelope import RequestEnvelope
from octant.core.events import (
    EvidenceSelected,
    RequestAdmitted,
    RequestReceived,
    SessionLoaded,
)
from octant.core.evidence import Evidence
from octant.core.failure import DEFECT, Failed
from octant.core.ids import TenantId
from octant.core.session import Conversation, Session
from octant.core.stage import Stage
from octant.core.stream import Broken, Completed, StreamItem, Terminal
from octant.core.verdict import Decision, Verdict
from octant.governance.governor import Governor, Screened
from octant.orchestration.account import RunAccount
from octant.orchestration.agent_loop import AgentLoop
from octant.orchestration.composition import compose
from octant.orchestration.decisions import announce
from octant.orchestration.estimate import estimate_of
from octant.orchestration.execution import Execution
from octant.orchestration.gathering import gather
from octant.orchestration.hangup import Hangup
from octant.orchestration.output_check import compile_contract
from octant.orchestration.progress import Prepared
from octant.orchestration.routes import RouteTable, ServedModel
from octant.orchestration.sessions import Sessions, next_turn
from octant.orchestration.settlement import Settler, month_of
from octant.orchestration.tool_broker import ToolBroker
from octant.ports.clock import Clock
from octant.ports.sink import EventSink

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class PathSettings(NamedTuple):
    """`assumed_output_tokens` is reserved against token limits when a request names no maximum.

    Inputs above `offload_bytes` are screened and gathered on a thread, so that one long prompt
    never holds up the event loop.
    """

    assumed_output_tokens: int
    offload_bytes: int


class PathParts(NamedTuple):
    """What the path hands a request through, in this order."""

    routes: RouteTable
    admission: AdmissionControl
    governor: Governor
    sessions: Sessions
    broker: ToolBroker
    execution: Execution
    loop: AgentLoop
    settler: Settler


class RequestPath:
    """Runs requests. Shared by all of them; what belongs to one lives in the frame of `run`."""

    def __init__(
        self, parts: PathParts, events: EventSink, clock: Clock, settings: PathSettings
    ) -> None:
        self._parts = parts
        self._events = events
        self._clock = clock
        self._settings = settings

    async def run(
        self, envelope: RequestEnvelope, hangup: Hangup
    ) -> AsyncGenerator[StreamItem, None]:
        """Items of the answer, then one terminal item; closing early cancels and still settles.

        Never raises Failed: a request refused before any work yields one `Broken`. Closed early, it
        is settled with `hangup.failure`.
        """
        account = RunAccount(envelope, self._parts.governor.version)
        terminal: Terminal | None = None
        try:
            async with aclosing(self._answer(envelope, account)) as items:
                async for item in items:
                    if isinstance(item, Completed | Broken):
                        terminal = item
                        break
                    yield item
        except Failed as error:
            terminal = Broken(error.failure, account.usage)
        except Exception:
            # The last border: a defect of ours must still release, settle and say that it is one.
            _log.exception("request %s met a defect", envelope.request_id)
            terminal = Broken(DEFECT, account.usage)
        finally:
            # Without a terminal item it was ended from outside; what it owes is settled anyway.
            ended = terminal or Broken(hangup.failure, account.usage)
            settled = await self._parts.settler.settle(account, ended)
        yield settled

    async def _answer(
        self, envelope: RequestEnvelope, account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        parts = self._parts
        self._receive(envelope)
        await parts.settler.check_records(envelope)
        model = parts.routes.model(envelope.model.name)
        estimate = estimate_of(envelope, model, self._settings.assumed_output_tokens)
        account.admitted = await self._admit(envelope, estimate)
        self._predict(envelope, estimate, model)
        self._authorise(envelope, account)
        conversation = await self._open_session(envelope, account)
        screened = await self._screen(envelope, conversation, account)
        prepared = await self._prepare(screened, conversation, model, account)
        async with aclosing(parts.loop.run(prepared, account)) as items:
            async for item in items:
                if isinstance(item, Completed):
                    account.session = next_turn(screened, conversation, account.said)
                yield item

    def rate_limits(self, envelope: RequestEnvelope) -> RateLimitStatus | None:
        """What is left of the tightest limits of the caller, for `x-ratelimit-*` headers."""
        return self._parts.admission.rate_limits(envelope, self._clock.monotonic_ns())

    def _receive(self, envelope: RequestEnvelope) -> None:
        self._events.emit(
            RequestReceived(
                at_ns=envelope.received_ns,
                request_id=envelope.request_id,
                trace_id=envelope.trace_id,
                parent_span_id=envelope.parent_span_id,
                tenant=envelope.principal.tenant,
                key_id=envelope.principal.key_id,
                model=envelope.model.name,
                api=envelope.api.value,
                profile=envelope.profile,
                stream=envelope.stream,
                deadline_ns=envelope.deadline.at_ns,
                at_unix_ns=envelope.received_unix_ns,
            )
        )

    async def _admit(self, envelope: RequestEnvelope, estimate: Estimate) -> Admitted:
        admission, settler = self._parts.admission, self._parts.settler
        month = month_of(envelope.received_unix_ns)
        tenant = envelope.principal.tenant
        if not admission.has_account(tenant, month):
            spent = await settler.spent(tenant, month)
            admission.open_account(tenant, month, spent)
        return admission.admit(envelope, estimate, month, self._clock.monotonic_ns())

    def _predict(self, envelope: RequestEnvelope, estimate: Estimate, model: ServedModel) -> None:
        """Refuses at once what cannot start in time where it would be sent to now."""
        now_ns = self._clock.monotonic_ns()
        load = self._parts.execution.likely(envelope, model)
        admission, tokens = self._parts.admission, estimate.prompt_tokens
        prediction = admission.check_deadline(envelope, load, tokens, now_ns) if load else None
        self._events.emit(
            RequestAdmitted(
                at_ns=now_ns,
                request_id=envelope.request_id,
                reserved_tokens=estimate.tokens,
                predicted_queue_ns=prediction.queue_ns if prediction else None,
                predicted_ttft_ns=prediction.ttft_ns if prediction else None,
            )
        )

    def _authorise(self, envelope: RequestEnvelope, account: RunAccount) -> None:
        self._decided(account, self._parts.governor.admit(envelope))

    async def _open_session(
        self, envelope: RequestEnvelope, account: RunAccount
    ) -> Conversation | None:
        governor = self._parts.governor

        def authorise(session: Session) -> None:
            self._decided(account, governor.authorise_session(envelope.principal, session))

        found = await self._parts.sessions.open(envelope, authorise)
        if found is not None:
            self._events.emit(
                SessionLoaded(
                    at_ns=self._clock.monotonic_ns(),
                    request_id=envelope.request_id,
                    session=found.session.id,
                    session_version=found.session.version,
                    messages=len(found.messages),
                )
            )
        return found

    async def _screen(
        self, envelope: RequestEnvelope, conversation: Conversation | None, account: RunAccount
    ) -> Screened:
        known = conversation.placeholders if conversation else {}
        governor, size = self._parts.governor, envelope.input_bytes
        screened = await self._aside(size, lambda: governor.screen(envelope, known))
        self._decided(account, screened.verdict)
        recordable = screened.recordable and envelope.trace.record
        if recordable and conversation is not None:
            recordable = await self._may_record(envelope.principal.tenant, conversation)
        account.records_tokens = recordable
        return screened

    async def _may_record(self, tenant: TenantId, conversation: Conversation) -> bool:
        """Whether the session's turns, which stand in the prompt too, may be kept with it."""
        said, governor = conversation.messages, self._parts.governor
        size = sum(len(message.text) for message in said)
        return await self._aside(size, lambda: governor.recordable(tenant, said))

    async def _prepare(
        self,
        screened: Screened,
        conversation: Conversation | None,
        model: ServedModel,
        account: RunAccount,
    ) -> Prepared:
        asked = screened.envelope
        if asked.output is not None:
            compile_contract(asked.output)
        tools = self._parts.broker.definitions(asked.tools.allowed)
        evidence = await self._aside(asked.input_bytes, lambda: gather(asked, model))
        if evidence is not None:
            account.evidence = evidence
            self._events.emit(_selected(asked, evidence, self._clock.monotonic_ns()))
        history = conversation.messages if conversation else ()
        composed = compose(asked, history, evidence, tools)
        return Prepared(composed, model, screened.vault, evidence)

    async def _aside(self, size: int, decide: Callable[[], _Result]) -> _Result:
        """Decides here, or on a thread where the text, of about `size` bytes, is long."""
        if size > self._settings.offload_bytes:
            return await asyncio.to_thread(decide)
        return decide()

    def _decided(self, account: RunAccount, verdict: Verdict) -> None:
        """Records a verdict on identity or input. Raises Failed when it blocks."""
        account.decide(Stage.GOVERNANCE, verdict)
        request_id = account.envelope.request_id
        announce(self._events, self._clock, request_id, Stage.GOVERNANCE, verdict)
        if verdict.decision is Decision.BLOCK:
            raise Failed(self._parts.governor.refusal(verdict, Stage.GOVERNANCE))


def _selected(envelope: RequestEnvelope, evidence: Evidence, at_ns: int) -> EvidenceSelected:
    package = evidence.package
    return EvidenceSelected(
        at_ns=at_ns,
        request_id=envelope.request_id,
        passages=len(package.passages),
        dropped=len(package.dropped),
        tokens=package.tokens,
        digest=package.digest,
    )
