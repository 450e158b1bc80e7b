"""Objectives: judged by a request's own times, and never by what its caller did."""

import pytest
from msgspec.structs import replace

from octant.core.failure import Failure, FailureKind
from octant.core.limits import Objective
from octant.core.outcome import OutcomeStatus
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS
from octant.core.usage import Usage
from octant.observability.objectives import judge
from tests.support import happenings

PROMISE = Objective(ttft_ms=100, tpot_ms=10, total_ms=500)


def judged(ttft_ms: int, total_ms: int, tokens: int) -> dict[str, bool]:
    outcome = replace(
        happenings.outcome(),
        usage=Usage(prompt_tokens=5, completion_tokens=tokens),
        duration_ns=total_ms * NS_PER_MS,
        time_to_first_token_ns=ttft_ms * NS_PER_MS,
    )
    return dict(judge(outcome, PROMISE))


def test_each_objective_is_judged_by_itself_and_its_bound_is_kept() -> None:
    assert judged(100, 200, 11) == {"ttft": True, "tpot": True, "total": True}
    assert judged(101, 200, 11) == {"ttft": False, "tpot": True, "total": True}
    assert judged(100, 201, 11) == {"ttft": True, "tpot": False, "total": True}
    assert judged(100, 501, 200) == {"ttft": True, "tpot": True, "total": False}


def test_one_token_has_no_time_per_further_token() -> None:
    assert judged(100, 200, 1) == {"ttft": True, "total": True}


@pytest.mark.parametrize(
    ("kind", "counted"),
    [(FailureKind.ENGINE_LOST, 3), (FailureKind.OVERLOADED, 3), (FailureKind.CANCELLED, 0)],
)
def test_what_failed_through_us_kept_nothing_and_what_a_caller_ended_is_not_judged(
    kind: FailureKind, counted: int
) -> None:
    failure = Failure(kind=kind, stage=Stage.DECODE, message="m")
    outcome = happenings.outcome(status=OutcomeStatus.FAILED, failure=failure)
    assert list(judge(outcome, PROMISE).values()) == [False] * counted
