"""Summary: what a settled run says about itself, folded from its account. Pure (RC2)."""

from collections.abc import Sequence

from octant.core.events import AnyEvent
from octant.core.outcome import Outcome
from octant.core.route import Route
from octant.core.session import SessionChange
from octant.core.summary import RouteSummary, RunSummary
from octant.observability.summary import stages
from octant.orchestration.account import RunAccount


def summarise(account: RunAccount, outcome: Outcome, events: Sequence[AnyEvent]) -> RunSummary:
    """The summary of a run that ended as `outcome` says."""
    evidence, append = account.evidence, account.session
    return RunSummary(
        request_id=outcome.request_id,
        trace_id=outcome.trace_id,
        status=outcome.status,
        failure=outcome.failure,
        warnings=account.warnings,
        evidence=evidence.package.passages if evidence else (),
        evidence_dropped=evidence.package.dropped if evidence else (),
        citations=account.citations,
        tools=account.tools,
        route=_route(account.route),
        attempts=account.tried,
        decisions=account.decisions,
        output_valid=account.output_valid,
        session=(
            SessionChange(
                session=append.session,
                version=append.turn.version,
                messages_added=len(append.turn.messages),
            )
            if append
            else None
        ),
        stages=stages(events),
        usage=outcome.usage,
        cost_nano_usd=outcome.cost_nano_usd,
        duration_ns=outcome.duration_ns,
    )


def _route(route: Route | None) -> RouteSummary | None:
    if route is None:
        return None
    return RouteSummary(
        id=route.id,
        release=route.release,
        model=route.model,
        engine=route.engine,
        label=route.label,
    )
