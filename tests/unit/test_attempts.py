"""Attempts: the first-byte rule, the failure's rule and the bound decide together."""

import pytest

from octant.core.failure import Failure, FailureKind, Retry
from octant.core.stage import Stage
from octant.orchestration.attempts import may_try_again


def failure(kind: FailureKind) -> Failure:
    return Failure(kind=kind, stage=Stage.DECODE, message="m")


@pytest.mark.parametrize("kind", list(FailureKind))
def test_only_failures_whose_rule_names_another_route_are_tried_again(kind: FailureKind) -> None:
    expected = failure(kind).rule.retry is Retry.OTHER_ROUTE
    assert may_try_again(failure(kind), attempts=1, output_sent=False, max_attempts=3) is expected


def test_nothing_is_tried_again_after_output() -> None:
    assert not may_try_again(
        failure(FailureKind.ENGINE_LOST), attempts=1, output_sent=True, max_attempts=3
    )


def test_attempts_are_bounded() -> None:
    lost = failure(FailureKind.ENGINE_LOST)
    allowed = [may_try_again(lost, n, output_sent=False, max_attempts=3) for n in range(1, 5)]
    assert allowed == [True, True, False, False]
