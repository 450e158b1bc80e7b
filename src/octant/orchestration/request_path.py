"""The life of a request, on one page.

    RequestEnvelope -> Admitted -> Verdict -> PromptPackage -> RouteDecision -> ExecutionManifest
                    -> items of the answer -> Outcome, committed

Law: each step takes one value and returns the next. A failure anywhere becomes one `Broken`; what
was reserved is released and the outcome is committed in one place, however the request ended, and
the terminal item is passed on only after that commit.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from octant.admission.control import AdmissionControl, Admitted, Estimate, RateLimitStatus
from octant.core.envelope import RequestEnvelope
from octant.core.events import PolicyDecided, RequestAdmitted, RequestReceived
from octant.core.failure import DEFECT, Failed
from octant.core.stage import Stage
from octant.core.stream import Broken, Completed, StreamItem, Terminal
from octant.core.verdict import Decision, Verdict
from octant.governance.policy import Policy, evaluate, refusal
from octant.orchestration.account import RunAccount
from octant.orchestration.estimate import estimate_of
from octant.orchestration.execution import Execution, ExecutionSettings
from octant.orchestration.hangup import Hangup
from octant.orchestration.routes import RouteTable, ServedModel
from octant.orchestration.settlement import Settler, month_of
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink

_log = logging.getLogger(__name__)


class PathSettings(NamedTuple):
    """`assumed_output_tokens` is reserved against token limits when a request names no maximum."""

    assumed_output_tokens: int
    execution: ExecutionSettings = ExecutionSettings()


class RequestPath:
    """Runs requests. Shared by all of them; what belongs to one lives in the frame of `run`."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        admission: AdmissionControl,
        policy: Policy,
        settler: Settler,
        events: EventSink,
        clock: Clock,
        entropy: Entropy,
        settings: PathSettings,
    ) -> None:
        self._routes = routes
        self._admission = admission
        self._policy = policy
        self._settler = settler
        self._events = events
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._execution = Execution(events, clock, entropy, routes.breakers, settings.execution)

    async def run(
        self, envelope: RequestEnvelope, hangup: Hangup
    ) -> AsyncGenerator[StreamItem, None]:
        """Items of the answer, then one terminal item; closing early cancels and still settles.

        Never raises Failed: a request refused before any work yields one `Broken`. Closed early, it
        is settled with `hangup.failure`.
        """
        account = RunAccount(envelope, self._policy.version)
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
            settled = await self._settler.settle(account, ended)
        yield settled

    async def _answer(
        self, envelope: RequestEnvelope, account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        self._receive(envelope)
        model = self._routes.model(envelope.model.name)
        estimate = estimate_of(envelope, model, self._settings.assumed_output_tokens)
        account.admitted = await self._admit(envelope, estimate)
        self._predict(envelope, estimate, model)
        account.decide(Stage.BOUNDARY, self._screen(envelope))
        async with aclosing(self._execution.run(envelope, model, account)) as items:
            async for item in items:
                yield item

    def rate_limits(self, envelope: RequestEnvelope) -> RateLimitStatus | None:
        """What is left of the tightest limits of the caller, for `x-ratelimit-*` headers."""
        return self._admission.rate_limits(envelope, self._clock.monotonic_ns())

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
        month = month_of(envelope.received_unix_ns)
        tenant = envelope.principal.tenant
        if not self._admission.has_account(tenant, month):
            spent = await self._settler.spent(tenant, month)
            self._admission.open_account(tenant, month, spent)
        return self._admission.admit(envelope, estimate, month, self._clock.monotonic_ns())

    def _predict(self, envelope: RequestEnvelope, estimate: Estimate, model: ServedModel) -> None:
        """Refuses at once what cannot start in time on the least busy route."""
        now_ns = self._clock.monotonic_ns()
        load = min((route.load() for route in model.routes), key=lambda load: load.waiting_tokens)
        prediction = self._admission.check_deadline(envelope, load, estimate.prompt_tokens, now_ns)
        self._events.emit(
            RequestAdmitted(
                at_ns=now_ns,
                request_id=envelope.request_id,
                reserved_tokens=estimate.tokens,
                predicted_queue_ns=prediction.queue_ns if prediction else None,
                predicted_ttft_ns=prediction.ttft_ns if prediction else None,
            )
        )

    def _screen(self, envelope: RequestEnvelope) -> Verdict:
        verdict = evaluate(self._policy, envelope)
        self._events.emit(
            PolicyDecided(
                at_ns=self._clock.monotonic_ns(),
                request_id=envelope.request_id,
                stage=Stage.BOUNDARY.value,
                verdict=verdict,
            )
        )
        if verdict.decision is Decision.BLOCK:
            raise Failed(refusal(verdict))
        return verdict
