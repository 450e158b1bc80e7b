"""RunSummary: everything about a run but its text, as the native contract returns it (RC2).

Law: it is folded from the same values that are settled, and stored with them, so what a caller was
told and what an operator finds later is one record.
"""

from octant.core import versions
from octant.core.evidence import Citation, DroppedPassage, Passage
from octant.core.failure import Failure
from octant.core.ids import ReleaseId, RequestId, RouteId, TraceId
from octant.core.outcome import OutcomeStatus
from octant.core.record import Record
from octant.core.session import SessionChange
from octant.core.tools import ToolOutcome
from octant.core.units import NanoUsd
from octant.core.usage import Usage
from octant.core.verdict import Verdict


class StageTime(Record, frozen=True, kw_only=True):
    """How long a request was in a stage, all its visits together."""

    stage: str
    duration_ns: int


class PolicyDecision(Record, frozen=True, kw_only=True):
    """A verdict and where on the path it was given."""

    stage: str
    verdict: Verdict


class AttemptSummary(Record, frozen=True, kw_only=True):
    """One attempt on one route; `failure` is None for the one that answered."""

    step: int
    attempt: int
    route: RouteId
    failure: Failure | None = None


class RouteSummary(Record, frozen=True, kw_only=True):
    """What answered last."""

    id: RouteId
    release: ReleaseId
    model: str
    engine: str
    label: str = ""


class RunSummary(Record, frozen=True, kw_only=True):
    """One finished run. `output_valid` is None when no output contract was asked for."""

    request_id: RequestId
    trace_id: TraceId
    status: OutcomeStatus
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    evidence: tuple[Passage, ...] = ()
    evidence_dropped: tuple[DroppedPassage, ...] = ()
    citations: tuple[Citation, ...] = ()
    tools: tuple[ToolOutcome, ...] = ()
    route: RouteSummary | None = None
    attempts: tuple[AttemptSummary, ...] = ()
    decisions: tuple[PolicyDecision, ...] = ()
    output_valid: bool | None = None
    review: str = "none"
    session: SessionChange | None = None
    stages: tuple[StageTime, ...] = ()
    usage: Usage = Usage()
    cost_nano_usd: NanoUsd = NanoUsd(0)
    duration_ns: int = 0
    version: int = versions.SUMMARY
