"""The failure table against the rules of the specification (FL, GW10)."""

import pytest

from octant.core.failure import (
    RULES,
    Billed,
    Blame,
    Failed,
    Failure,
    FailureClass,
    FailureKind,
    FailureRule,
    Retry,
)
from octant.core.stage import PREPARATION_STAGES, REQUEST_STAGES, Stage

ROWS = list(RULES.items())
each_row = pytest.mark.parametrize(("kind", "rule"), ROWS, ids=[kind.value for kind, _ in ROWS])

# Failures that admission or the boundary decides before any work is done.
REFUSALS = {
    FailureKind.RATE_LIMIT_EXCEEDED,
    FailureKind.CONCURRENCY_EXCEEDED,
    FailureKind.INSUFFICIENT_QUOTA,
    FailureKind.OVERLOADED,
    FailureKind.CAPACITY_EXHAUSTED,
    FailureKind.DRAINING,
    FailureKind.DEADLINE_UNREACHABLE,
    FailureKind.INVALID_API_KEY,
    FailureKind.PERMISSION_DENIED,
    FailureKind.REQUEST_TOO_LARGE,
    FailureKind.INVALID_JSON,
}


def test_every_kind_has_exactly_one_rule() -> None:
    assert set(RULES) == set(FailureKind)


def test_all_eight_classes_can_be_reached() -> None:
    assert {rule.failure_class for rule in RULES.values()} == set(FailureClass)
    assert len(FailureClass) == 8


def test_public_codes_are_distinct_snake_case_words() -> None:
    codes = [kind.value for kind in FailureKind]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_causes_that_a_caller_must_tell_apart_have_codes_of_their_own() -> None:
    distinct = {
        FailureKind.OVERLOADED,
        FailureKind.RATE_LIMIT_EXCEEDED,
        FailureKind.INSUFFICIENT_QUOTA,
        FailureKind.DEADLINE_EXCEEDED,
        FailureKind.CANCELLED,
        FailureKind.POLICY_BLOCKED,
        FailureKind.INVALID_VALUE,
        FailureKind.MODEL_FAILURE,
        FailureKind.UPSTREAM_FAILURE,
    }
    assert len({kind.value for kind in distinct}) == 9


@each_row
def test_status_is_an_error_and_says_whose(kind: FailureKind, rule: FailureRule) -> None:
    assert 400 <= rule.status <= 599
    if kind is FailureKind.OUTPUT_INVALID:
        # The model's fault, but against the caller's own contract, which the caller can change.
        assert (rule.blame, rule.status) == (Blame.PROVIDER, 422)
    elif rule.blame in (Blame.OCTANT, Blame.PROVIDER):
        assert rule.status >= 500
    else:
        assert rule.status < 500


@each_row
def test_error_type_follows_the_status(kind: FailureKind, rule: FailureRule) -> None:
    expected = {
        401: {"authentication_error"},
        403: {"permission_error"},
        429: {"rate_limit_error", "insufficient_quota"},
    }.get(rule.status, {"server_error"} if rule.status >= 500 else {"invalid_request_error"})
    assert rule.error_type in expected


@each_row
def test_what_a_caller_did_wrong_is_neither_retried_nor_charged_to_a_route(
    kind: FailureKind, rule: FailureRule
) -> None:
    if rule.blame in (Blame.CALLER, Blame.TENANT, Blame.POLICY):
        assert not rule.breaker
        assert rule.retry in (Retry.NEVER, Retry.AFTER_DELAY)


@pytest.mark.parametrize("kind", sorted(REFUSALS), ids=lambda kind: kind.value)
def test_a_refusal_is_never_billed_and_opens_no_breaker(kind: FailureKind) -> None:
    assert RULES[kind].billed is Billed.NOTHING
    assert not RULES[kind].breaker


@each_row
def test_only_work_that_may_have_been_done_is_billed(kind: FailureKind, rule: FailureRule) -> None:
    begun = (FailureClass.INTERRUPTED, FailureClass.TOOL, FailureClass.POLICY)
    if rule.billed is not Billed.NOTHING:
        assert rule.failure_class in begun


@each_row
def test_another_route_is_tried_only_for_faults_of_the_first(
    kind: FailureKind, rule: FailureRule
) -> None:
    if rule.retry is Retry.OTHER_ROUTE:
        # What one caller asks for must not take a route from all others.
        assert rule.breaker is not (kind is FailureKind.UPSTREAM_REFUSED)
        begun = (FailureClass.EXECUTION, FailureClass.INTERRUPTED)
        assert rule.failure_class in begun or kind is FailureKind.UPSTREAM_BUSY


@each_row
def test_unchanged_artifacts_and_shapes_are_never_retried(
    kind: FailureKind, rule: FailureRule
) -> None:
    if rule.failure_class in (FailureClass.ARTIFACT, FailureClass.SHAPE):
        assert rule.retry is Retry.NEVER


@each_row
def test_ambiguous_side_effects_wait_for_a_decision(kind: FailureKind, rule: FailureRule) -> None:
    assert (rule.retry is Retry.ON_DECISION) == (rule.failure_class is FailureClass.TOOL)


def test_what_could_not_be_stored_is_not_acknowledged_as_success() -> None:
    rule = RULES[FailureKind.RECORD_NOT_STORED]
    assert rule.failure_class is FailureClass.PERSISTENCE
    assert (rule.status, rule.billed, rule.retry) == (503, Billed.NOTHING, Retry.AFTER_DELAY)


def test_a_failure_knows_its_row_and_an_exception_its_failure() -> None:
    failure = Failure(kind=FailureKind.OVERLOADED, stage=Stage.ADMISSION, message="full")
    assert failure.rule is RULES[FailureKind.OVERLOADED]
    error = Failed(failure)
    assert error.failure is failure
    assert str(error) == "overloaded at admission: full"


def test_both_tracks_have_their_stages_and_share_none() -> None:
    assert len(PREPARATION_STAGES) == 9
    assert len(REQUEST_STAGES) == 14
    assert set(PREPARATION_STAGES) | set(REQUEST_STAGES) == set(Stage)
