"""Settlement: the one place where a request ends.

Law: outcome, usage, budget, manifest and audit are committed in one transaction before the terminal
item is passed on, and everything reserved is released whether or not the commit succeeds. An answer
whose record could not be kept ends as a failure, never as a success.
"""

import asyncio
from datetime import UTC, datetime

from msgspec.structs import replace

from octant.admission.control import AdmissionControl
from octant.core.audit import AuditRecord
from octant.core.events import AnyEvent, RequestSettled
from octant.core.failure import Failed, Failure
from octant.core.ids import TenantId
from octant.core.outcome import Outcome
from octant.core.stream import Broken, Completed, Terminal
from octant.core.units import NS_PER_S, NanoUsd
from octant.observability.recorder import EventRecorder
from octant.orchestration.account import RunAccount
from octant.orchestration.observation import observation_of
from octant.ports.clock import Clock
from octant.ports.store import Settlement, Store


class Settler:
    """Commits how requests ended and gives back what they held."""

    def __init__(
        self, store: Store, admission: AdmissionControl, recorder: EventRecorder, clock: Clock
    ) -> None:
        self._store = store
        self._admission = admission
        self._recorder = recorder
        self._clock = clock
        self._running: set[asyncio.Task[Terminal]] = set()

    async def settle(self, account: RunAccount, terminal: Terminal) -> Terminal:
        """The terminal item to pass on: the one given, or `Broken` when it could not be stored.

        Runs to its end even when the awaiting task is cancelled; `drain` waits for such ones.
        """
        task = asyncio.create_task(self._commit(account, terminal))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Returns when no settlement is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def spent(self, tenant: TenantId, month: str) -> NanoUsd:
        """Settled cost of a tenant so far. Raises Failed(RECORD_NOT_STORED)."""
        return await self._store.spent(tenant, month)

    async def _commit(self, account: RunAccount, terminal: Terminal) -> Terminal:
        now_ns = self._clock.monotonic_ns()
        outcome = _outcome(account, terminal, now_ns)
        events = self._recorder.take(outcome.request_id)
        observation = observation_of(outcome, events)
        if observation is not None:
            self._admission.observe(observation)
        stored, passed_on = True, terminal
        try:
            await self._store.settle(self._settlement(account, outcome, events))
        except Failed as error:
            stored, passed_on = False, _unstored(terminal, error.failure)
            # What stands in no ledger is owed by nobody.
            outcome = replace(_outcome(account, passed_on, now_ns), cost_nano_usd=NanoUsd(0))
        finally:
            if account.admitted is not None:
                self._admission.settle(
                    account.admitted, outcome.usage, outcome.cost_nano_usd, now_ns
                )
        self._recorder.settled(
            RequestSettled(
                at_ns=now_ns, request_id=outcome.request_id, outcome=outcome, stored=stored
            ),
            events,
            account.pins[-1] if account.pins else None,
        )
        return passed_on

    def _settlement(
        self, account: RunAccount, outcome: Outcome, events: tuple[AnyEvent, ...]
    ) -> Settlement:
        ended = RequestSettled(
            at_ns=account.envelope.received_ns + outcome.duration_ns,
            request_id=outcome.request_id,
            outcome=outcome,
            stored=True,
        )
        return Settlement(
            outcome=outcome,
            manifest=account.pins[-1] if account.pins else None,
            audit=(_audit(account, outcome, self._clock.unix_ns()),),
            events=(*events, ended),
            month=month_of(account.envelope.received_unix_ns),
        )


def month_of(unix_ns: int) -> str:
    """The budget period of an instant: `YYYY-MM` in UTC."""
    return datetime.fromtimestamp(unix_ns // NS_PER_S, UTC).strftime("%Y-%m")


def _outcome(account: RunAccount, terminal: Terminal, now_ns: int) -> Outcome:
    envelope, route = account.envelope, account.route
    failure = terminal.failure if isinstance(terminal, Broken) else None
    first_ns = account.first_output_ns
    return Outcome(
        request_id=envelope.request_id,
        trace_id=envelope.trace_id,
        tenant=envelope.principal.tenant,
        key_id=envelope.principal.key_id,
        model=envelope.model.name,
        route=route.id if route else None,
        profile=envelope.profile,
        status=account.status(failure),
        failure=failure,
        finish_reasons=account.finish_reasons,
        attempts=account.attempts,
        usage=account.usage,
        cost_nano_usd=account.cost(failure),
        received_unix_ns=envelope.received_unix_ns,
        duration_ns=now_ns - envelope.received_ns,
        time_to_first_token_ns=None if first_ns is None else first_ns - envelope.received_ns,
    )


def _audit(account: RunAccount, outcome: Outcome, at_unix_ns: int) -> AuditRecord:
    verdict = account.decisions[0].verdict if account.decisions else None
    failure = outcome.failure
    return AuditRecord(
        request_id=outcome.request_id,
        tenant=outcome.tenant,
        key_id=outcome.key_id,
        action="inference",
        decision=outcome.status.value,
        policy_version=verdict.policy_version if verdict else "",
        rule=verdict.rule if verdict else "",
        at_unix_ns=at_unix_ns,
        detail={
            "model": outcome.model,
            "failure": failure.kind.value if failure else "",
            "total_tokens": outcome.usage.total_tokens,
        },
    )


def _unstored(terminal: Terminal, failure: Failure) -> Terminal:
    """A request that had failed anyway keeps its own reason."""
    return Broken(failure, terminal.usage) if isinstance(terminal, Completed) else terminal
