"""Settlement: the one place where a request ends.

Law: outcome, usage, budget, manifest, audit, summary, recording and session turn are committed in
one transaction before the terminal item is passed on, and everything reserved is released whether
or not the commit succeeds. An answer whose record could not be kept ends as a failure, never as a
success; and once that has happened, no work is begun before the store has kept a record again.
"""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

import octant
from octant.admission.control import AdmissionControl
from octant.core import versions
from octant.core.envelope import RequestEnvelope
from octant.core.events import AnyEvent, RequestSettled
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.stage import Stage
from octant.core.stream import Broken, Terminal
from octant.core.summary import RunSummary
from octant.core.units import NS_PER_S, NanoUsd
from octant.observability.manifest import completed
from octant.observability.recorder import EventRecorder
from octant.orchestration.account import RunAccount
from octant.orchestration.audit_trail import audit_of, store_recovered
from octant.orchestration.observation import observation_of
from octant.orchestration.run_summary import summarise
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
        self._keeps_records = True
        self._running: set[asyncio.Task[Terminal]] = set()

    async def settle(self, account: RunAccount, terminal: Terminal) -> Terminal:
        """The terminal item to pass on, with its summary: the one given, or `Broken` when it could
        not be stored.

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

    async def check_records(self, envelope: RequestEnvelope) -> None:
        """Raises Failed(RECORD_NOT_STORED) while the store keeps no records (GV6)."""
        if not self._keeps_records:
            await self._store.append_audit([store_recovered(envelope, self._clock.unix_ns())])
            self._keeps_records = True

    async def _commit(self, account: RunAccount, terminal: Terminal) -> Terminal:
        now_ns = self._clock.monotonic_ns()
        events = self._recorder.take(account.envelope.request_id)
        ended = _end(account, terminal, events, now_ns)
        observation = observation_of(ended.outcome, events)
        if observation is not None:
            self._admission.observe(observation)
        stored = False
        try:
            ended = await self._store_or_conflict(account, ended, events, now_ns)
            stored = True
        except Failed as error:
            ended = _unstored(account, ended, error.failure, events, now_ns)
            # Only a record that was kept proves that records are kept again.
            if error.failure.kind is FailureKind.RECORD_NOT_STORED:
                self._keeps_records = False
        finally:
            if account.admitted is not None:
                outcome = ended.outcome
                self._admission.settle(
                    account.admitted, outcome.usage, outcome.cost_nano_usd, now_ns
                )
        settled = _settled(ended.outcome, now_ns, stored=stored)
        self._recorder.settled(settled, events, ended.manifest)
        return ended.terminal._replace(usage=ended.outcome.usage, summary=ended.summary)

    async def _store_or_conflict(
        self, account: RunAccount, ended: "_Ended", events: tuple[AnyEvent, ...], now_ns: int
    ) -> "_Ended":
        """Stores how a request ended; one whose session has moved on is stored as that failure."""
        try:
            await self._store.settle(self._settlement(account, ended, events))
        except Failed as error:
            if account.session is None or error.failure.stage is not Stage.SESSION:
                raise
            terminal = Broken(error.failure, ended.outcome.usage)
            ended = _end(account, terminal, events, now_ns)
            await self._store.settle(self._settlement(account, ended, events))
        return ended

    def _settlement(
        self, account: RunAccount, ended: "_Ended", events: tuple[AnyEvent, ...]
    ) -> Settlement:
        outcome = ended.outcome
        at_ns = account.envelope.received_ns + outcome.duration_ns
        return Settlement(
            outcome=outcome,
            manifest=ended.manifest,
            audit=audit_of(account, outcome, self._clock.unix_ns()),
            events=(*events, _settled(outcome, at_ns, stored=True)),
            month=month_of(account.envelope.received_unix_ns),
            summary=ended.summary,
            recording=account.recording,
            session=account.session,
        )


class _Ended(NamedTuple):
    """How a request ended, in every form in which that is told."""

    terminal: Terminal
    outcome: Outcome
    summary: RunSummary
    manifest: ExecutionManifest | None


def month_of(unix_ns: int) -> str:
    """The budget period of an instant: `YYYY-MM` in UTC."""
    return datetime.fromtimestamp(unix_ns // NS_PER_S, UTC).strftime("%Y-%m")


def _end(
    account: RunAccount, terminal: Terminal, events: tuple[AnyEvent, ...], now_ns: int
) -> _Ended:
    if isinstance(terminal, Broken):
        # A turn belongs to a session only as a whole.
        account.session = None
    outcome = _outcome(account, terminal, now_ns)
    summary = summarise(account, outcome, events)
    return _Ended(terminal, outcome, summary, _manifest(account, events))


def _unstored(
    account: RunAccount,
    ended: _Ended,
    failure: Failure,
    events: tuple[AnyEvent, ...],
    now_ns: int,
) -> _Ended:
    """A request that had failed anyway keeps its own reason; what no ledger has, nobody owes."""
    terminal = ended.terminal
    if not isinstance(terminal, Broken):
        terminal = Broken(failure, terminal.usage)
    failed = _end(account, terminal, events, now_ns)
    outcome = replace(failed.outcome, cost_nano_usd=NanoUsd(0))
    summary = replace(failed.summary, cost_nano_usd=NanoUsd(0))
    return failed._replace(outcome=outcome, summary=summary)


def _settled(outcome: Outcome, at_ns: int, *, stored: bool) -> RequestSettled:
    return RequestSettled(
        at_ns=at_ns, request_id=outcome.request_id, outcome=outcome, stored=stored
    )


def _manifest(account: RunAccount, events: tuple[AnyEvent, ...]) -> ExecutionManifest | None:
    """What ran, completed by what became known while it did; None where nothing was begun."""
    if not account.pins:
        return None
    *earlier, last = account.pins
    contract = account.envelope.output
    return completed(
        last,
        events,
        octant_version=octant.__version__,
        output_schema=contract.json_schema if contract else None,
        evaluator_version=str(versions.EVALUATOR),
        pins=earlier,
    )


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
